CREATE TABLE `dataset_import` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`source` text NOT NULL,
	`secret` text,
	`options` text NOT NULL,
	`status` text NOT NULL,
	`filename` text,
	`bytes_total` integer,
	`bytes_done` integer DEFAULT 0 NOT NULL,
	`error` text,
	`dataset_id` text,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`finished_at` integer
);
--> statement-breakpoint
CREATE INDEX `dataset_import_org` ON `dataset_import` (`org`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `dataset_import_status` ON `dataset_import` (`status`,`created_at`);