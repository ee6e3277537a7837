CREATE TABLE `hold` (
	`id` text PRIMARY KEY NOT NULL,
	`kind` text NOT NULL,
	`subject` text NOT NULL,
	`subject_id` text NOT NULL,
	`reason` text NOT NULL,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`until` integer,
	`ended_at` integer,
	`ended_by` text
);
--> statement-breakpoint
CREATE UNIQUE INDEX `hold_active` ON `hold` (`kind`,`subject`,`subject_id`) WHERE ended_at is null;--> statement-breakpoint
CREATE INDEX `hold_subject` ON `hold` (`subject_id`,`created_at`);--> statement-breakpoint
INSERT INTO `hold` SELECT 'hold_' || lower(hex(randomblob(10))), 'suspended', 'user', `id`, '', 'system', `updated_at`, NULL, NULL, NULL FROM `user` WHERE `banned` = 1;