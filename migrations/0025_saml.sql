CREATE TABLE `sso_used` (
	`id` text PRIMARY KEY NOT NULL,
	`until` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `sso_used_until` ON `sso_used` (`until`);