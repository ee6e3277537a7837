ALTER TABLE `job` ADD `burst` text;--> statement-breakpoint
ALTER TABLE `team_share` ADD `burst` text;