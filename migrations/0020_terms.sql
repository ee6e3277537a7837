CREATE TABLE `terms_acceptance` (
	`id` text PRIMARY KEY NOT NULL,
	`user_id` text NOT NULL,
	`email` text NOT NULL,
	`version_id` text NOT NULL,
	`document` text NOT NULL,
	`number` integer NOT NULL,
	`how` text NOT NULL,
	`adult` integer NOT NULL,
	`address` text NOT NULL,
	`user_agent` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `terms_acceptance_once` ON `terms_acceptance` (`user_id`,`version_id`);--> statement-breakpoint
CREATE INDEX `terms_acceptance_list` ON `terms_acceptance` (`created_at`,`id`);--> statement-breakpoint
CREATE TABLE `terms_version` (
	`id` text PRIMARY KEY NOT NULL,
	`document` text NOT NULL,
	`number` integer NOT NULL,
	`text` text NOT NULL,
	`summary` text NOT NULL,
	`material` integer NOT NULL,
	`effective_at` integer NOT NULL,
	`created_at` integer NOT NULL,
	`created_by` text NOT NULL,
	`noticed_at` integer,
	`withdrawn_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `terms_version_number` ON `terms_version` (`document`,`number`);