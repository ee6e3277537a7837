CREATE TABLE `moderation_case` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`object` text NOT NULL,
	`subject` text NOT NULL,
	`dataset_id` text,
	`name` text NOT NULL,
	`hash` text,
	`owner_id` text NOT NULL,
	`source` text NOT NULL,
	`state` text NOT NULL,
	`categories` text NOT NULL,
	`findings` text NOT NULL,
	`flagged` integer NOT NULL,
	`decision` text,
	`reason` text,
	`decided_at` integer,
	`erasing` integer DEFAULT false NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `moderation_case_state` ON `moderation_case` (`state`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `moderation_case_org` ON `moderation_case` (`org`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `moderation_case_subject` ON `moderation_case` (`subject`);--> statement-breakpoint
CREATE INDEX `moderation_case_erasing` ON `moderation_case` (`id`) WHERE erasing = 1;--> statement-breakpoint
CREATE TABLE `moderation_check` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`object` text NOT NULL,
	`subject` text NOT NULL,
	`state` text NOT NULL,
	`done` integer DEFAULT 0 NOT NULL,
	`total` integer,
	`tries` integer DEFAULT 0 NOT NULL,
	`error` text,
	`user_id` text NOT NULL,
	`created_at` integer NOT NULL,
	`finished_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `moderation_check_subject` ON `moderation_check` (`subject`);--> statement-breakpoint
CREATE INDEX `moderation_check_waiting` ON `moderation_check` (`created_at`) WHERE state = 'waiting';--> statement-breakpoint
CREATE TABLE `moderation_entry` (
	`id` text PRIMARY KEY NOT NULL,
	`case_id` text NOT NULL,
	`kind` text NOT NULL,
	`user_id` text NOT NULL,
	`value` text,
	`text` text NOT NULL,
	`created_at` integer NOT NULL,
	FOREIGN KEY (`case_id`) REFERENCES `moderation_case`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `moderation_entry_case` ON `moderation_entry` (`case_id`,`created_at`);--> statement-breakpoint
CREATE INDEX `moderation_entry_user` ON `moderation_entry` (`user_id`,`kind`,`created_at`);--> statement-breakpoint
CREATE TABLE `moderation_rule` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`name` text NOT NULL,
	`version` integer NOT NULL,
	`category` text NOT NULL,
	`kind` text NOT NULL,
	`settings` text NOT NULL,
	`threshold_ppm` integer NOT NULL,
	`on_datasets` integer NOT NULL,
	`on_models` integer NOT NULL,
	`action` text NOT NULL,
	`enabled` integer NOT NULL,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `restriction` (
	`subject` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`object` text NOT NULL,
	`kind` text NOT NULL,
	`name` text NOT NULL,
	`hash` text,
	`reason` text NOT NULL,
	`case_id` text,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `restriction_org` ON `restriction` (`org`,`kind`,`created_at`);--> statement-breakpoint
CREATE INDEX `restriction_hash` ON `restriction` (`hash`);