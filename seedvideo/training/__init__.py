"""The recipe of the embedded model: photos in, checkpoint out. Nothing else imports this."""
