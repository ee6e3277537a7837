CREATE TABLE `beta_switch` (
	`feature` text NOT NULL,
	`org` text NOT NULL,
	`enabled` integer NOT NULL,
	`changed_by` text NOT NULL,
	`changed_at` integer NOT NULL,
	PRIMARY KEY(`feature`, `org`)
);
