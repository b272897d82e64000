package main

import (
	"errors"

	"github.com/gomodule/redigo/redis"
)

const waiting = 1024

var errClosed = errors.New("the connection to Redis was closed")

type reply struct {
	seen
	err error
}

type call struct {
	digest string
	expire bool
	done   chan reply
}

// pipeline sends the commands of all requests over one connection, as many in one write as are waiting.
type pipeline struct {
	address, window string
	calls           chan *call
}

func newPipeline(address, window string) *pipeline {
	p := &pipeline{address, window, make(chan *call, waiting)}
	go p.run()
	return p
}

func (p *pipeline) count(digest string) (seen, error) {
	found := p.ask(&call{digest: digest, done: make(chan reply, 1)})
	if found.err == nil && found.requests == 1 {
		return found.seen, p.ask(&call{digest: digest, expire: true, done: make(chan reply, 1)}).err
	}
	return found.seen, found.err
}

func (p *pipeline) ask(one *call) reply {
	p.calls <- one
	return <-one.done
}

// run connects for the next call, and again after every error.
func (p *pipeline) run() {
	for one := range p.calls {
		c, err := dial(p.address)
		if err != nil {
			one.done <- reply{err: err}
			continue
		}
		p.serve(c, one)
	}
}

// serve writes calls until the connection breaks, while another goroutine reads the replies.
func (p *pipeline) serve(c redis.Conn, one *call) {
	sent := make(chan *call, waiting)
	broken := make(chan struct{})
	go readAll(c, sent, broken)
	defer close(sent)
	for {
		err := p.sendAll(c, one, sent)
		if err == nil {
			err = c.Flush()
		}
		if err != nil {
			c.Close()
			return
		}
		select {
		case one = <-p.calls:
		case <-broken:
			return
		}
	}
}

// sendAll puts that call and all that are waiting into the buffer.
func (p *pipeline) sendAll(c redis.Conn, one *call, sent chan<- *call) error {
	for {
		var err error
		if one.expire {
			err = c.Send("EXPIRE", "rate:"+one.digest, p.window)
		} else {
			err = send(c, one.digest)
		}
		select {
		case sent <- one:
		default: // as many calls as fit are on their way
			if err == nil {
				err = c.Flush()
			}
			sent <- one
		}
		if err != nil {
			return err
		}
		select {
		case one = <-p.calls:
		default:
			return nil
		}
	}
}

// readAll hands out the replies in the order of the calls; after an error, every call gets errClosed.
func readAll(c redis.Conn, sent <-chan *call, broken chan<- struct{}) {
	var failed error
	for one := range sent {
		if failed != nil {
			one.done <- reply{err: errClosed}
			continue
		}
		found, err := one.receive(c)
		if err != nil {
			failed = err
			c.Close()
			close(broken)
		}
		one.done <- reply{found, err}
	}
}

func (one *call) receive(c redis.Conn) (seen, error) {
	if one.expire {
		_, err := c.Receive()
		return seen{}, err
	}
	return receive(c)
}
