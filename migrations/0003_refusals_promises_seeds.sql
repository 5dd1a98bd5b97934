DROP INDEX `generations_held`;--> statement-breakpoint
ALTER TABLE `generations` ADD `refusals` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `generations` ADD `place` text;--> statement-breakpoint
ALTER TABLE `generations` ADD `seed_digits` text;--> statement-breakpoint
ALTER TABLE `generations` ADD `promised` text;--> statement-breakpoint
CREATE INDEX `generations_held` ON `generations` (case when place is null then id else place end,`refusals`,`id`) WHERE status = 'requested' and submission_started_at is null;--> statement-breakpoint
ALTER TABLE `gate` ADD `doubted` integer DEFAULT false NOT NULL;