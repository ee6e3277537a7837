CREATE TABLE `wandb_run` (
	`job_id` text NOT NULL,
	`n` integer NOT NULL,
	`org` text NOT NULL,
	`lines` integer DEFAULT 0 NOT NULL,
	`last_step` integer DEFAULT -1 NOT NULL,
	`summary` text DEFAULT '{}' NOT NULL,
	`error` text,
	`ended_at` integer,
	PRIMARY KEY(`job_id`, `n`),
	FOREIGN KEY (`job_id`) REFERENCES `job`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `wandb_run_open` ON `wandb_run` (`ended_at`,`org`);--> statement-breakpoint
CREATE TABLE `wandb_server` (
	`org` text PRIMARY KEY NOT NULL,
	`url` text NOT NULL,
	`key` text NOT NULL,
	`created_at` integer NOT NULL,
	FOREIGN KEY (`org`) REFERENCES `organization`(`id`) ON UPDATE no action ON DELETE cascade
);
