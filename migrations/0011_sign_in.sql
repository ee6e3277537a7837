CREATE TABLE `failed_attempt` (
	`key` text PRIMARY KEY NOT NULL,
	`failures` integer NOT NULL,
	`until` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `failed_attempt_until` ON `failed_attempt` (`until`);