export DATABASE="${DATABASE:-/tmp/files.sqlite}"
flock "$DATABASE.lock" flask --app archive init-db
