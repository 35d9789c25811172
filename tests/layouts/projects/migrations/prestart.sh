export DATABASE="${DATABASE:-/tmp/files.sqlite}"
flask --app archive init-db
