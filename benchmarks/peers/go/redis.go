package main

import (
	"log"
	"strconv"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	timeout = time.Second
	// As many as the benchmarks have callers, so that no connection is made per request.
	maxIdle = 256
)

func dial(address string) (redis.Conn, error) {
	return redis.Dial("tcp", address, redis.DialConnectTimeout(timeout), redis.DialReadTimeout(timeout), redis.DialWriteTimeout(timeout))
}

// send puts the two commands of a request into the buffer of a connection.
func send(c redis.Conn, digest string) error {
	if err := c.Send("HGET", "tokens:"+digest, "hosts"); err != nil {
		return err
	}
	return c.Send("INCR", "rate:"+digest)
}

// receive reads the two replies.
func receive(c redis.Conn) (seen, error) {
	hosts, err := redis.String(c.Receive())
	if err != nil && err != redis.ErrNil {
		return seen{}, err
	}
	known := err == nil
	requests, err := redis.Int64(c.Receive())
	return seen{hosts, known, requests}, err
}

// pool sends the two commands of each request in one write, on a connection of its own.
type pool struct {
	connections *redis.Pool
	window      string
}

func newPool(address, window string) *pool {
	dialed := func() (redis.Conn, error) { return dial(address) }
	return &pool{&redis.Pool{MaxIdle: maxIdle, IdleTimeout: 4 * time.Minute, Dial: dialed}, window}
}

func (p *pool) count(digest string) (seen, error) {
	c := p.connections.Get()
	defer c.Close()
	if err := send(c, digest); err != nil {
		return seen{}, err
	}
	if err := c.Flush(); err != nil {
		return seen{}, err
	}
	found, err := receive(c)
	if err == nil && found.requests == 1 {
		_, err = c.Do("EXPIRE", "rate:"+digest, p.window)
	}
	return found, err
}

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	return value
}
