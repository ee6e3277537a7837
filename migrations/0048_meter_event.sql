CREATE TABLE `meter_event` (
	`n` integer PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`state` text NOT NULL,
	`tries` integer DEFAULT 0 NOT NULL,
	`not_before` integer DEFAULT 0 NOT NULL,
	`unsure_since` integer,
	`error` text
);
--> statement-breakpoint
CREATE INDEX `meter_event_state` ON `meter_event` (`state`,`not_before`);