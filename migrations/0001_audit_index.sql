DROP INDEX `generations_nsfw`;--> statement-breakpoint
CREATE INDEX `generations_nsfw` ON `generations` (`nsfw_verdict`,`id`,`status`,`archive_status`,`model_id`);