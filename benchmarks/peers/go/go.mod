module peer

go 1.24

require github.com/gomodule/redigo v1.8.3
