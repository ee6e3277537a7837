CREATE TABLE `sso_domain` (
	`domain` text PRIMARY KEY NOT NULL,
	`provider` text NOT NULL,
	FOREIGN KEY (`provider`) REFERENCES `sso_provider`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `sso_domain_provider` ON `sso_domain` (`provider`);--> statement-breakpoint
CREATE TABLE `sso_group` (
	`provider` text NOT NULL,
	`position` integer NOT NULL,
	`name` text NOT NULL,
	`org` text NOT NULL,
	`team_role` text NOT NULL,
	`role` text NOT NULL,
	PRIMARY KEY(`provider`, `position`),
	FOREIGN KEY (`provider`) REFERENCES `sso_provider`(`id`) ON UPDATE no action ON DELETE cascade,
	FOREIGN KEY (`org`) REFERENCES `organization`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE TABLE `sso_provider` (
	`id` text PRIMARY KEY NOT NULL,
	`type` text NOT NULL,
	`name` text NOT NULL,
	`enabled` integer DEFAULT true NOT NULL,
	`enforced` integer DEFAULT false NOT NULL,
	`second_factor` integer DEFAULT false NOT NULL,
	`trust_email` integer DEFAULT false NOT NULL,
	`default_org` text,
	`settings` text NOT NULL,
	`secret` text,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	FOREIGN KEY (`default_org`) REFERENCES `organization`(`id`) ON UPDATE no action ON DELETE set null
);
--> statement-breakpoint
ALTER TABLE `session` ADD `method` text;--> statement-breakpoint
ALTER TABLE `session` ADD `two_factors` integer DEFAULT false NOT NULL;--> statement-breakpoint
CREATE UNIQUE INDEX `account_provider` ON `account` (`provider_id`,`account_id`);