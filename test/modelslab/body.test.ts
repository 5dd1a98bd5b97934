import { describe, expect, it } from 'vitest'
import { parseBody } from '../../src/modelslab/body.ts'
import { cpuClock } from '../support/cpu.ts'

const message = { status: 'success', id: 7, output: ['https://cdn.test/a.png'] }

describe('parseBody', () => {
  it('reads past a byte order mark', () => {
    expect(parseBody('\uFEFF{"status":"success"}')).toEqual({ status: 'success' })
  })

  it.each([
    ['NaN', '{"a":NaN,"b":-Infinity,"c":Infinity}', { a: null, b: null, c: null }],
    ['undefined', '{"a":undefined}', { a: null }],
    ['words of Python', '{"a":None,"b":True,"c":[False,]}', { a: null, b: true, c: [false] }],
    ['quotes of Python', `{'a': 'it\\'s "so"', "b": "it's"}`, { a: `it's "so"`, b: "it's" }],
    ['commas at the end', '{"a":[1,2,],"b":{"c":3,},}', { a: [1, 2], b: { c: 3 } }],
    ['names without quotes', '{status:"success",1:2}', { status: 'success', 1: 2 }],
    ['numbers of other languages', '{"a":.5,"b":1.,"c":+3,"d":007}', { a: 0.5, b: 1, c: 3, d: 7 }],
    ['numbers of JSON', '{"a":-1.5e3,"b":0.25,"c":NaN}', { a: -1500, b: 0.25, c: null }],
    ['long numbers', '{"a":1187654321098765432,"b":NaN}', { a: '1187654321098765432', b: null }],
    ['line breaks in texts', '{"a":"b\n\tc\u0001"}', { a: 'b\n\tc\u0001' }],
    ['escapes that JSON lacks', String.raw`{"a":"\'b\' \/ \u0041"}`, { a: "'b' / A" }],
    ['brackets in texts', '{"a":"NaN,] {None}","b":NaN}', { a: 'NaN,] {None}', b: null }],
    ['words around it', 'callback({"a":1});', { a: 1 }],
    ['a prefix against scripts', ')]}\'\n{"a":1}', { a: 1 }],
    ['a fence', '```json\n{"a":1}\n```', { a: 1 }],
    ['words behind it', '{"a":1}\0\nnull', { a: 1 }],
  ])('reads nearly JSON as it was meant: %s', (_what, text, meant) => {
    expect(parseBody(text)).toEqual(meant)
  })

  it.each([
    ['a list', [message]],
    ['a text', JSON.stringify(message)],
    ['a list of one text', [JSON.stringify(message)]],
    ['data', { data: message }],
    ['a result', { code: 200, result: message }],
    ['a body that is a text', { statusCode: 200, body: JSON.stringify(message) }],
    ['an envelope with a status of its own', { status: 'success', data: message }],
    ['an envelope with an empty output', { status: 'processing', output: [], data: message }],
  ])('takes off one layer: %s', (_what, wrapped) => {
    expect(parseBody(JSON.stringify(wrapped))).toMatchObject(message)
  })

  it('takes a form for the JSON that it carries', () => {
    const form = `payload=${encodeURIComponent(JSON.stringify(message))}&x=1`

    expect(parseBody(form)).toEqual(message)
  })

  it.each([
    [{ status: 'processing', data: { id: 7 } }],
    [{ status: 'error', message: 'no', data: [] }],
    [{ status: 'success', meta: { status: 'failed', output: [] } }],
    [{ data: { data: message } }],
    [{ ...message, data: { status: 'processing', output: [] } }],
    [{ ...message, result: { status: 'failed', message: 'the try before' } }],
    [{ ...message, output: message.output[0], data: { output: '' } }],
    [{ ...message, output: { 0: message.output[0] }, data: { output: '' } }],
  ])('leaves %j as it is', (body) => {
    expect(parseBody(JSON.stringify(body))).toEqual(body)
  })

  it.each([
    '',
    '[]',
    'null',
    '1',
    '{',
    '""',
    '[[{}]]',
    '{"a":1}{"b":2}',
    '<html><script>{"status":"success"}</script></html>',
    `{"meta":${'['.repeat(500_000)}${']'.repeat(500_000)}}`,
    `{"id":1187654321098765432,"meta":${'['.repeat(500_000)}${']'.repeat(500_000)}}`,
    JSON.stringify('['.repeat(500_000)),
  ])('finds none in %.30s', (text) => {
    expect(parseBody(text)).toBeNull()
  })

  it.each([
    ['quotes', `{"a":${String.raw`\"`.repeat(150_000)}`],
    ['apostrophes', `{${"'".repeat(150_001)}`],
    ['backslashes', `{"${'\\'.repeat(150_001)}`],
    ['commas', `{${','.repeat(300_000)}`],
    ['spaces', `{"a" ${' '.repeat(300_000)}x`],
    ['words', `{${'a '.repeat(150_000)}`],
    ['brackets', '{'.repeat(300_000)],
  ])('takes no long time for so many %s that is no JSON', (_what, text) => {
    const usedCpuMs = cpuClock()

    expect(parseBody(`${text}}`)).toBeNull()
    expect(usedCpuMs()).toBeLessThan(2000)
  })
})
