CREATE TABLE `status_component` (
	`id` text PRIMARY KEY NOT NULL,
	`label` text,
	`hidden` integer DEFAULT false NOT NULL,
	`state` text NOT NULL,
	`problem` text,
	`since` integer NOT NULL,
	`observed_until` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `status_day` (
	`component` text NOT NULL,
	`day` integer NOT NULL,
	`up_ms` integer DEFAULT 0 NOT NULL,
	`degraded_ms` integer DEFAULT 0 NOT NULL,
	`down_ms` integer DEFAULT 0 NOT NULL,
	`planned_ms` integer DEFAULT 0 NOT NULL,
	PRIMARY KEY(`component`, `day`)
);
--> statement-breakpoint
CREATE TABLE `status_incident` (
	`id` text PRIMARY KEY NOT NULL,
	`title` text NOT NULL,
	`impact` text NOT NULL,
	`components` text NOT NULL,
	`state` text NOT NULL,
	`started_at` integer NOT NULL,
	`resolved_at` integer,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `status_incident_list` ON `status_incident` (`started_at`,`id`);--> statement-breakpoint
CREATE INDEX `status_incident_open` ON `status_incident` (`resolved_at`);--> statement-breakpoint
CREATE TABLE `status_update` (
	`id` text PRIMARY KEY NOT NULL,
	`incident` text NOT NULL,
	`state` text NOT NULL,
	`text` text NOT NULL,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	FOREIGN KEY (`incident`) REFERENCES `status_incident`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `status_update_incident` ON `status_update` (`incident`,`created_at`);