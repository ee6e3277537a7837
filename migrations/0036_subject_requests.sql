CREATE TABLE `subject_request` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`status` text NOT NULL,
	`terms` text NOT NULL,
	`match` text NOT NULL,
	`reference` text NOT NULL,
	`rows_done` integer DEFAULT 0 NOT NULL,
	`rows_total` integer DEFAULT 0 NOT NULL,
	`hits` integer DEFAULT 0 NOT NULL,
	`result` text,
	`erasure` text,
	`error` text,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`finished_at` integer,
	`expires_at` integer NOT NULL,
	FOREIGN KEY (`org`) REFERENCES `organization`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `subject_request_list` ON `subject_request` (`org`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `subject_request_queue` ON `subject_request` (`status`,`created_at`);--> statement-breakpoint
CREATE INDEX `subject_request_expiry` ON `subject_request` (`expires_at`);