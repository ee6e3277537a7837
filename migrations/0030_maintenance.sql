CREATE TABLE `maintenance_window` (
	`id` text PRIMARY KEY NOT NULL,
	`starts_at` integer NOT NULL,
	`ends_at` integer NOT NULL,
	`reason` text NOT NULL,
	`message` text NOT NULL,
	`endpoints` text NOT NULL,
	`trainings` text NOT NULL,
	`lead_ms` integer NOT NULL,
	`mail` integer NOT NULL,
	`noticed` text,
	`canceled_at` integer,
	`created_at` integer NOT NULL,
	`created_by` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `maintenance_window_list` ON `maintenance_window` (`created_at`,`id`);