CREATE TABLE `notice` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`user_id` text NOT NULL,
	`event_id` text NOT NULL,
	`type` text NOT NULL,
	`title` text NOT NULL,
	`body` text NOT NULL,
	`path` text NOT NULL,
	`created_at` integer NOT NULL,
	`read_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `notice_once` ON `notice` (`event_id`,`user_id`);--> statement-breakpoint
CREATE INDEX `notice_list` ON `notice` (`user_id`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `notice_unread` ON `notice` (`user_id`,`read_at`);--> statement-breakpoint
CREATE TABLE `notice_delivery` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`event_id` text NOT NULL,
	`type` text NOT NULL,
	`channel` text NOT NULL,
	`destination` text NOT NULL,
	`summary` text NOT NULL,
	`payload` text NOT NULL,
	`state` text NOT NULL,
	`attempts` integer DEFAULT 0 NOT NULL,
	`next_at` integer NOT NULL,
	`last_status` integer,
	`last_error` text,
	`created_at` integer NOT NULL,
	`ended_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `notice_delivery_once` ON `notice_delivery` (`event_id`,`destination`);--> statement-breakpoint
CREATE INDEX `notice_delivery_due` ON `notice_delivery` (`state`,`next_at`);--> statement-breakpoint
CREATE INDEX `notice_delivery_list` ON `notice_delivery` (`state`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `notice_delivery_destination` ON `notice_delivery` (`destination`,`created_at`,`id`);--> statement-breakpoint
CREATE TABLE `notice_event` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`type` text NOT NULL,
	`subject` text NOT NULL,
	`user_id` text,
	`also_to` text,
	`title` text NOT NULL,
	`body` text NOT NULL,
	`path` text NOT NULL,
	`created_at` integer NOT NULL,
	`spread_at` integer,
	`answered_at` integer
);
--> statement-breakpoint
CREATE INDEX `notice_event_spread` ON `notice_event` (`spread_at`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `notice_event_at` ON `notice_event` (`created_at`);--> statement-breakpoint
CREATE TABLE `notice_preference` (
	`user_id` text NOT NULL,
	`topic` text NOT NULL,
	`channel` text NOT NULL,
	`wanted` integer NOT NULL,
	PRIMARY KEY(`user_id`, `topic`, `channel`)
);
--> statement-breakpoint
CREATE TABLE `webhook_endpoint` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`name` text NOT NULL,
	`format` text NOT NULL,
	`url` text NOT NULL,
	`shown_url` text NOT NULL,
	`event_types` text NOT NULL,
	`secret` text NOT NULL,
	`secret_hint` text NOT NULL,
	`old_secret` text,
	`old_secret_until` integer,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `webhook_endpoint_org` ON `webhook_endpoint` (`org`,`created_at`,`id`);