CREATE TABLE `provider_error` (
	`n` integer PRIMARY KEY NOT NULL,
	`provider` text NOT NULL,
	`request` text NOT NULL,
	`kind` text NOT NULL,
	`message` text NOT NULL,
	`vendor_code` text,
	`times` integer DEFAULT 1 NOT NULL,
	`at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `provider_error_provider` ON `provider_error` (`provider`,`n`);--> statement-breakpoint
CREATE TABLE `provider_limit` (
	`provider` text PRIMARY KEY NOT NULL,
	`regions` text NOT NULL,
	`machine_types` text NOT NULL,
	`max_price_per_hour` real,
	`max_machines` integer,
	`month_usd` real,
	`stopped_at` integer,
	`stopped_by` text,
	`updated_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `provider_orphan` (
	`provider` text NOT NULL,
	`resource` text NOT NULL,
	`key` text NOT NULL,
	`found_at` integer NOT NULL,
	`tries` integer DEFAULT 0 NOT NULL,
	`removed_at` integer,
	`error` text,
	PRIMARY KEY(`provider`, `resource`, `key`)
);
--> statement-breakpoint
CREATE INDEX `provider_orphan_found` ON `provider_orphan` (`found_at`);--> statement-breakpoint
CREATE TABLE `provider_pause` (
	`provider` text PRIMARY KEY NOT NULL,
	`kind` text NOT NULL,
	`message` text NOT NULL,
	`vendor_code` text,
	`since` integer NOT NULL,
	`until` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `meter_interval_provider` ON `meter_interval` (`provider`,`from_ms`) WHERE meter = 'provider_micros';