CREATE TABLE `team_limit` (
	`org` text NOT NULL,
	`name` text NOT NULL,
	`value` integer NOT NULL,
	PRIMARY KEY(`org`, `name`),
	FOREIGN KEY (`org`) REFERENCES `organization`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
ALTER TABLE `invitation` ADD `team_role` text;--> statement-breakpoint
UPDATE `member` SET `role` = 'member' WHERE `user_id` IN (SELECT `id` FROM `user` WHERE `role` = 'member');--> statement-breakpoint
UPDATE `member` SET `role` = 'owner' WHERE `user_id` IN (SELECT `id` FROM `user` WHERE `role` = 'admin');
