CREATE TABLE `announcement` (
	`id` text PRIMARY KEY NOT NULL,
	`title` text NOT NULL,
	`text` text NOT NULL,
	`severity` text NOT NULL,
	`orgs` text NOT NULL,
	`roles` text NOT NULL,
	`starts_at` integer NOT NULL,
	`ends_at` integer,
	`mail` integer NOT NULL,
	`mailed_at` integer,
	`created_at` integer NOT NULL,
	`created_by` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `announcement_list` ON `announcement` (`created_at`,`id`);--> statement-breakpoint
CREATE TABLE `banner_dismissal` (
	`user_id` text NOT NULL,
	`subject` text NOT NULL,
	`created_at` integer NOT NULL,
	PRIMARY KEY(`user_id`, `subject`)
);
