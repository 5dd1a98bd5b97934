/** What there is; `call` is how a command of ours is called here. */
export const usage = (call: string) => `afterimage keeps what ModelsLab's inpainting API produces.

Usage: ${call} COMMAND [options]

  serve         the service, on settings from the environment
  demo          the service and a simulated ModelsLab, no account needed
  simulator     a ModelsLab that runs on this machine

  verify        reads every object again and compares ledger and store
  completeness  tells whether every generation ended, and how
  rebuild       makes a lost ledger again from the store

  version       tells which version this is

Each has --help.
`

export const SERVE_USAGE = `afterimage serve runs the service until SIGTERM or Ctrl-C.

It takes no options: settings are read from the environment. Two are needed:

  MODELSLAB_API_KEY   the key of your ModelsLab account
  PUBLIC_URL          where ModelsLab reaches this service

README.md, Settings, tells all others. What it logs goes to stderr, a JSON
object a line. Ends with 0 once it was told to end, 1 if it could not start.
`
