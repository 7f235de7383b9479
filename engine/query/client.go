// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Asker answers queries: a Service does in the process of a worker, a Client from elsewhere.
type Asker interface {
	Do(context.Context, Query) (*Answer, error)
}

// ClientOptions say which workers a Client asks.
type ClientOptions struct {
	// Endpoints are where workers of the application are reached, one or more of them, or an address that leads to any of
	// them: host:port or a URL.
	Endpoints []string
	// TokenFile holds the token to show. Read for each request.
	TokenFile string
	// CAFile holds the authorities to trust with https; empty: those of the system.
	CAFile string
	// CertFile and KeyFile are the certificate to show with https.
	CertFile, KeyFile string
}

// Client asks the workers of an application over HTTP. Each knows, or asks, who has what is asked for; another one is asked
// where one cannot be reached or is about to lose what is asked for. A client that is given several endpoints learns from the
// answers which of them has which keys, and asks that one first. It may be used by several goroutines.
type Client struct {
	endpoints []string
	tokenFile string
	http      *http.Client
	next      atomic.Uint32
	homes     homes
}

// NewClient checks the options. It opens no connection.
func NewClient(o ClientOptions) (*Client, error) {
	c := &Client{tokenFile: o.TokenFile}
	for _, e := range o.Endpoints {
		if !strings.Contains(e, "://") {
			e = "http://" + e
		}
		u, err := url.Parse(e)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("endpoint %q is none of host:port, http://… and https://…", e)
		}
		c.endpoints = append(c.endpoints, strings.TrimSuffix(u.String(), "/"))
	}
	if len(c.endpoints) == 0 {
		return nil, errors.New("no worker's endpoint is given")
	}
	c.homes.init(c.endpoints)
	t := &http.Transport{
		DialContext: (&net.Dialer{Timeout: patience}).DialContext, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: time.Minute,
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{},
	}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the authorities to trust: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("there is no certificate in %s", o.CAFile)
		}
	}
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	c.http = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// maxIdle is how many connections to a worker are kept for later.
const maxIdle = 512

// Close gives back the client's idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// defaultTimeout is how long a client goes on where neither the query nor the context says.
const defaultTimeout = 10 * time.Second

// Do implements Asker.
func (c *Client) Do(ctx context.Context, q Query) (a *Answer, err error) {
	ctx, cancel := c.within(ctx, q.Timeout)
	defer cancel()
	edit, err := c.authorization()
	if err != nil {
		return nil, err
	}
	first, ok := c.homes.guess(&q)
	if !ok {
		first = c.anyone()
	}
	err = c.attempts(ctx, first, func(base string) error {
		a, err = get(ctx, c.http, base, &q, edit)
		if errors.Is(err, errUnreachable) {
			c.homes.forget(base)
		}
		return err
	})
	if err == nil && c.homes.learn(&q, a) {
		c.learnStores(ctx)
	}
	return a, err
}

// anyone is the number of the endpoint whose turn it is.
func (c *Client) anyone() int { return int(c.next.Add(1)) % len(c.endpoints) }

// Fetch gets what workers have at a path of the API, with its parameters.
func (c *Client) Fetch(ctx context.Context, path string) (body []byte, err error) {
	ctx, cancel := c.within(ctx, 0)
	defer cancel()
	edit, err := c.authorization()
	if err != nil {
		return nil, err
	}
	err = c.attempts(ctx, c.anyone(), func(base string) error {
		body, err = fetch(ctx, c.http, base, path, edit)
		return err
	})
	return body, err
}

func (c *Client) within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok && timeout == 0 {
		return context.WithCancel(ctx)
	}
	if timeout == 0 {
		timeout = defaultTimeout
	}
	return context.WithTimeout(ctx, timeout)
}

// authorization returns what shows the token.
func (c *Client) authorization() (func(*http.Request), error) {
	if c.tokenFile == "" {
		return func(*http.Request) {}, nil
	}
	token, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return nil, fmt.Errorf("read the token for the API: %w", err)
	}
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token))) }, nil
}

// attempts asks one worker after the other, as long as what they say goes away by itself and there is time.
func (c *Client) attempts(ctx context.Context, first int, ask func(base string) error) error {
	for n := 0; ; n++ {
		err := ask(c.endpoints[(first+n)%len(c.endpoints)])
		if err == nil || !passes(err) {
			return err
		}
		if round := n / len(c.endpoints); (n+1)%len(c.endpoints) == 0 && !pause(ctx, round) || ctx.Err() != nil {
			return err
		}
	}
}
