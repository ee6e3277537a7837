CREATE TABLE `scim_connection` (
	`provider` text PRIMARY KEY NOT NULL,
	`token_hash` text NOT NULL,
	`token_hint` text NOT NULL,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`last_used_at` integer,
	FOREIGN KEY (`provider`) REFERENCES `sso_provider`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE UNIQUE INDEX `scim_connection_token_hash_unique` ON `scim_connection` (`token_hash`);--> statement-breakpoint
CREATE TABLE `scim_group` (
	`id` text PRIMARY KEY NOT NULL,
	`provider` text NOT NULL,
	`display_name` text NOT NULL,
	`external_id` text,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	FOREIGN KEY (`provider`) REFERENCES `sso_provider`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE UNIQUE INDEX `scim_group_name` ON `scim_group` (`provider`,`display_name`);--> statement-breakpoint
CREATE TABLE `scim_member` (
	`group_id` text NOT NULL,
	`user_id` text NOT NULL,
	PRIMARY KEY(`group_id`, `user_id`),
	FOREIGN KEY (`group_id`) REFERENCES `scim_group`(`id`) ON UPDATE no action ON DELETE cascade,
	FOREIGN KEY (`user_id`) REFERENCES `user`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `scim_member_user` ON `scim_member` (`user_id`);--> statement-breakpoint
CREATE TABLE `scim_user` (
	`provider` text NOT NULL,
	`user_id` text NOT NULL,
	`user_name` text NOT NULL,
	`user_name_key` text NOT NULL,
	`external_id` text,
	`given_name` text,
	`family_name` text,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	PRIMARY KEY(`provider`, `user_id`),
	FOREIGN KEY (`provider`) REFERENCES `sso_provider`(`id`) ON UPDATE no action ON DELETE cascade,
	FOREIGN KEY (`user_id`) REFERENCES `user`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE UNIQUE INDEX `scim_user_name` ON `scim_user` (`provider`,`user_name_key`);--> statement-breakpoint
CREATE INDEX `scim_user_external` ON `scim_user` (`provider`,`external_id`);--> statement-breakpoint
CREATE INDEX `scim_user_user` ON `scim_user` (`user_id`);