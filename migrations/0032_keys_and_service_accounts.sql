ALTER TABLE `api_key` ADD `allowed_addresses` text;--> statement-breakpoint
ALTER TABLE `api_key` ADD `allowed_models` text;--> statement-breakpoint
ALTER TABLE `api_key` ADD `requests_per_minute` integer;--> statement-breakpoint
ALTER TABLE `api_key` ADD `tokens_per_minute` integer;--> statement-breakpoint
ALTER TABLE `api_key` ADD `rotated_at` integer;--> statement-breakpoint
ALTER TABLE `api_key` ADD `previous_hash` text;--> statement-breakpoint
ALTER TABLE `api_key` ADD `previous_prefix` text;--> statement-breakpoint
ALTER TABLE `api_key` ADD `previous_until` integer;--> statement-breakpoint
CREATE UNIQUE INDEX `api_key_previous_hash_unique` ON `api_key` (`previous_hash`);--> statement-breakpoint
ALTER TABLE `user` ADD `kind` text DEFAULT 'person' NOT NULL;--> statement-breakpoint
ALTER TABLE `user` ADD `created_by` text;