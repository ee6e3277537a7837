ALTER TABLE `job` ADD `deleted_at` integer;--> statement-breakpoint
CREATE INDEX `usage_line_job` ON `usage_line` (`job_id`);