ALTER TABLE `api_key` ADD `parent_id` text;--> statement-breakpoint
CREATE INDEX `api_key_parent` ON `api_key` (`parent_id`);