CREATE TABLE `hub_push` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`model` text NOT NULL,
	`format` text,
	`artifact_id` text NOT NULL,
	`hub` text NOT NULL,
	`repo` text NOT NULL,
	`branch` text NOT NULL,
	`private` integer NOT NULL,
	`message` text NOT NULL,
	`secret` text,
	`own_token` integer NOT NULL,
	`status` text NOT NULL,
	`phase` text,
	`bytes_total` integer,
	`bytes_done` integer DEFAULT 0 NOT NULL,
	`commit` text,
	`error` text,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`finished_at` integer
);
--> statement-breakpoint
CREATE INDEX `hub_push_model` ON `hub_push` (`org`,`model`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `hub_push_status` ON `hub_push` (`status`,`created_at`);