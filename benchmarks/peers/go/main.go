// The same check as a Go service would make it: net/http and redigo, with a pool of connections to Redis or with one
// connection that all requests share.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
)

// seen is what Redis knows about a token: its hosts, if it is known, and its requests in this window.
type seen struct {
	hosts    string
	known    bool
	requests int64
}

// store reads a token's record and counts the request, whether the token is known or not.
type store interface {
	count(digest string) (seen, error)
}

type service struct {
	store  store
	pepper string
	limit  int64
	window string
}

func main() {
	window := os.Getenv("RATE_LIMIT_WINDOW_SEC")
	address := "127.0.0.1:" + os.Getenv("REDIS_PORT")
	auth := &service{pepper: os.Getenv("PEPPER"), limit: number(os.Getenv("RATE_LIMIT_MAX")), window: window}
	if os.Getenv("REDIS_CLIENT") == "pipeline" {
		auth.store = newPipeline(address, window)
	} else {
		auth.store = newPool(address, window)
	}
	http.Handle("/auth", auth)
	http.Handle("/auth/", auth)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}

// ServeHTTP answers a ForwardAuth sub-request.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		answer(w, http.StatusUnauthorized, "missing bearer token")
		return
	}
	sum := sha256.Sum256([]byte(token + s.pepper))
	found, err := s.store.count(hex.EncodeToString(sum[:]))
	host := strings.ToLower(r.Header.Get("X-Forwarded-Host"))
	switch {
	case err != nil:
		answer(w, http.StatusServiceUnavailable, "redis unavailable")
	case !found.known:
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		answer(w, http.StatusUnauthorized, "invalid token")
	case !slices.Contains(strings.Split(found.hosts, ","), host):
		answer(w, http.StatusForbidden, "forbidden for host")
	case found.requests > s.limit:
		w.Header().Set("Retry-After", s.window)
		answer(w, http.StatusTooManyRequests, "rate limit exceeded")
	default:
		answer(w, http.StatusOK, "OK")
	}
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	io.WriteString(w, text)
}
