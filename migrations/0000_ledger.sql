CREATE TABLE `callbacks` (
	`id` text PRIMARY KEY NOT NULL,
	`generation_id` text NOT NULL,
	`received_at` integer NOT NULL,
	`decision` text NOT NULL,
	`body` blob,
	`body_sha256` text NOT NULL,
	`count` integer DEFAULT 1 NOT NULL,
	`last_received_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `callbacks_body` ON `callbacks` (`generation_id`,`body_sha256`);--> statement-breakpoint
CREATE TABLE `events` (
	`id` integer PRIMARY KEY NOT NULL,
	`generation_id` text NOT NULL,
	`at` integer NOT NULL,
	`event` text NOT NULL,
	`detail` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `events_generation` ON `events` (`generation_id`);--> statement-breakpoint
CREATE TABLE `gate` (
	`id` integer PRIMARY KEY NOT NULL,
	`closed_until` integer DEFAULT 0 NOT NULL,
	`in_flight_limit` integer,
	`probed` integer DEFAULT false NOT NULL,
	`refusals` integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE TABLE `generations` (
	`id` text PRIMARY KEY NOT NULL,
	`version` integer DEFAULT 0 NOT NULL,
	`status` text NOT NULL,
	`archive_status` text DEFAULT 'none' NOT NULL,
	`endpoint` text DEFAULT 'inpaint' NOT NULL,
	`model_id` text,
	`prompt` text,
	`negative_prompt` text,
	`parameters` text,
	`client_track_id` text,
	`provider_id` text,
	`submitted_by` text,
	`idempotency_key` text,
	`request_sha256` text,
	`requested_at` integer NOT NULL,
	`submission_started_at` integer,
	`finished_at` integer,
	`archived_at` integer,
	`generation_time_s` real,
	`eta_s` real,
	`seed` integer,
	`meta` text,
	`tip` text,
	`webhook_status` text,
	`failure_code` text,
	`failure_message` text,
	`nsfw_verdict` text DEFAULT 'unknown' NOT NULL,
	`nsfw_disputed` integer DEFAULT false NOT NULL,
	`fetch_due_at` integer,
	`fetch_leased_until` integer,
	`fetches` integer DEFAULT 0 NOT NULL,
	`fetch_owed` integer DEFAULT false NOT NULL,
	`record_due_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `generations_idempotency` ON `generations` (`submitted_by`,`idempotency_key`) WHERE idempotency_key is not null;--> statement-breakpoint
CREATE INDEX `generations_status` ON `generations` (`status`,`id`);--> statement-breakpoint
CREATE INDEX `generations_archive_status` ON `generations` (`archive_status`,`id`);--> statement-breakpoint
CREATE INDEX `generations_nsfw` ON `generations` (`nsfw_verdict`,`id`);--> statement-breakpoint
CREATE INDEX `generations_model` ON `generations` (`model_id`,`id`);--> statement-breakpoint
CREATE INDEX `generations_client_track` ON `generations` (`client_track_id`,`id`) WHERE client_track_id is not null;--> statement-breakpoint
CREATE INDEX `generations_held` ON `generations` (`id`) WHERE status = 'requested' and submission_started_at is null;--> statement-breakpoint
CREATE INDEX `generations_unanswered` ON `generations` (`id`) WHERE status = 'requested' and submission_started_at is not null;--> statement-breakpoint
CREATE INDEX `generations_fetch` ON `generations` (`fetch_due_at`) WHERE fetch_due_at is not null;--> statement-breakpoint
CREATE INDEX `generations_record` ON `generations` (`record_due_at`) WHERE record_due_at is not null;--> statement-breakpoint
CREATE TABLE `heartbeat` (
	`id` integer PRIMARY KEY NOT NULL,
	`at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `images` (
	`generation_id` text NOT NULL,
	`source` text NOT NULL,
	`position` integer NOT NULL,
	`status` text DEFAULT 'pending' NOT NULL,
	`source_url` text NOT NULL,
	`host` text NOT NULL,
	`expires_at` integer NOT NULL,
	`due_at` integer,
	`waiting` integer DEFAULT false NOT NULL,
	`leased_until` integer,
	`attempts` integer DEFAULT 0 NOT NULL,
	`fresh_links_asked` integer DEFAULT false NOT NULL,
	`sha256` text,
	`bytes` integer,
	`content_type` text,
	`width` integer,
	`height` integer,
	`object_key` text,
	`suspect` text,
	`archived_at` integer,
	`margin_ms` integer,
	`failure_code` text,
	`failure_message` text,
	PRIMARY KEY(`generation_id`, `source`, `position`)
);
--> statement-breakpoint
CREATE INDEX `images_ready` ON `images` (`host`,`expires_at`) WHERE status = 'pending' and waiting = 0;--> statement-breakpoint
CREATE INDEX `images_waiting` ON `images` (`due_at`) WHERE status = 'pending' and waiting = 1;--> statement-breakpoint
CREATE TABLE `nsfw_reports` (
	`id` integer PRIMARY KEY NOT NULL,
	`generation_id` text NOT NULL,
	`value` text,
	`verdict` text NOT NULL,
	`by` text NOT NULL,
	`callback_id` text,
	`at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `nsfw_reports_generation` ON `nsfw_reports` (`generation_id`);--> statement-breakpoint
CREATE TABLE `offers` (
	`generation_id` text NOT NULL,
	`source` text NOT NULL,
	`position` integer NOT NULL,
	`url` text NOT NULL,
	`by` text NOT NULL,
	`offered_at` integer NOT NULL,
	`expires_at` integer NOT NULL,
	`attempts` integer DEFAULT 0 NOT NULL,
	`exhausted` integer DEFAULT false NOT NULL,
	`contradicts` integer DEFAULT false NOT NULL,
	`unnamed` integer DEFAULT false NOT NULL,
	PRIMARY KEY(`generation_id`, `source`, `position`, `url`)
);
