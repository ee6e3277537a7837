CREATE TABLE `pii_scan` (
	`version_id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`dataset_id` text NOT NULL,
	`status` text NOT NULL,
	`engine` text NOT NULL,
	`rows_done` integer DEFAULT 0 NOT NULL,
	`rows_found` integer DEFAULT 0 NOT NULL,
	`counts` text NOT NULL,
	`error` text,
	`decision` text,
	`decided_by` text,
	`decided_by_name` text,
	`decided_at` integer,
	`reason` text,
	`next_version_id` text,
	`created_at` integer NOT NULL,
	`finished_at` integer,
	FOREIGN KEY (`version_id`) REFERENCES `dataset_version`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `pii_scan_queue` ON `pii_scan` (`status`,`created_at`);--> statement-breakpoint
CREATE TABLE `privacy_policy` (
	`org` text PRIMARY KEY NOT NULL,
	`require_decision` integer NOT NULL,
	FOREIGN KEY (`org`) REFERENCES `organization`(`id`) ON UPDATE no action ON DELETE cascade
);
