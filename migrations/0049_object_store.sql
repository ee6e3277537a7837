CREATE TABLE `object_deletion` (
	`key` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`since` integer NOT NULL,
	`tries` integer DEFAULT 0 NOT NULL,
	`retry_at` integer NOT NULL,
	`error` text
);
--> statement-breakpoint
CREATE INDEX `object_deletion_retry` ON `object_deletion` (`retry_at`);--> statement-breakpoint
CREATE INDEX `object_deletion_org` ON `object_deletion` (`org`);--> statement-breakpoint
CREATE TABLE `stored_object` (
	`unit` text NOT NULL,
	`path` text NOT NULL,
	`key` text NOT NULL,
	`org` text NOT NULL,
	`bytes` integer NOT NULL,
	`sha256` text NOT NULL,
	`created_at` integer NOT NULL,
	PRIMARY KEY(`unit`, `path`)
);
--> statement-breakpoint
CREATE INDEX `stored_object_key` ON `stored_object` (`key`);--> statement-breakpoint
CREATE INDEX `stored_object_org` ON `stored_object` (`org`);