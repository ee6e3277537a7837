CREATE TABLE `archive` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`scope` text NOT NULL,
	`checkpoints` integer NOT NULL,
	`status` text NOT NULL,
	`bytes_done` integer DEFAULT 0 NOT NULL,
	`bytes_total` integer,
	`bytes` integer,
	`sha256` text,
	`error` text,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`finished_at` integer,
	`expires_at` integer
);
--> statement-breakpoint
CREATE INDEX `archive_list` ON `archive` (`org`,`scope`,`created_by`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `archive_status` ON `archive` (`status`,`created_at`);