ALTER TABLE `billing_account` ADD `more_time_until` integer;--> statement-breakpoint
ALTER TABLE `billing_account` ADD `more_time_reason` text;