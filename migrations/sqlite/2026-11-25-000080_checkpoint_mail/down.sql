DROP TABLE checkpoint_mail;
