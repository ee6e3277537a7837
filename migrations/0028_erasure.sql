ALTER TABLE `audit_log` ADD `erased_at` integer;--> statement-breakpoint
ALTER TABLE `hold` ADD `erased` text;