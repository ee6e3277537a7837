CREATE TABLE `organization_limit` (
	`org` text NOT NULL,
	`name` text NOT NULL,
	`value` integer NOT NULL,
	PRIMARY KEY(`org`, `name`),
	FOREIGN KEY (`org`) REFERENCES `organization`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
ALTER TABLE `user` ADD `last_seen_at` integer;--> statement-breakpoint
ALTER TABLE `host` ADD `label` text;--> statement-breakpoint
CREATE INDEX `audit_actor` ON `audit_log` (`org`,`actor`,`seq`);--> statement-breakpoint
CREATE INDEX `audit_action` ON `audit_log` (`org`,`action`,`seq`);--> statement-breakpoint
CREATE INDEX `audit_at` ON `audit_log` (`at`,`seq`);