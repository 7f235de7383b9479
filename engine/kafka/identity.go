// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/oauth2"

	"github.com/streamd/streamd/engine/config"
)

// identity is what all clients of the process have in common that connect with the same settings: what was fetched to
// authenticate with, and whether brokers accept it. A worker has several clients and makes new ones all the time; without
// it each would ask the token endpoint.
type identity struct {
	cfg      config.Config
	workload *credentials.Credentials // of AWS; fetched when first asked for

	tokens struct {
		sync.Mutex // held while a token is fetched
		token      *oauth2.Token
	}
	mu struct {
		sync.Mutex
		renewed  time.Time           // when what may have been revoked was last dropped
		refusals map[string]*refusal // by address of a broker
	}
}

// refusal is that a broker has accepted no connection since a time, because of who we are or who it is.
type refusal struct {
	since, last time.Time
	err         error // the newest
	final       error // not nil: that has lasted for authentication.timeout
}

// identityKey are the settings that make an identity.
type identityKey struct {
	brokers, mechanism, user, scopes, extensions      string
	tls                                               bool
	ca, cert, key, serverName                         string
	password, token, tokenURL, clientID, clientSecret string
	timeout                                           time.Duration
}

var identities sync.Map // identityKey: *identity

func identityOf(cfg *config.Config) *identity {
	key := identityKey{
		brokers: strings.Join(cfg.Brokers, ","), mechanism: cfg.SASLMechanism, user: cfg.SASLUser,
		scopes: strings.Join(cfg.SASLScopes, ","), extensions: strings.Join(cfg.SASLExtensions, ","),
		tls: cfg.TLS, ca: cfg.TLSCAFile, cert: cfg.TLSCertFile, key: cfg.TLSKeyFile, serverName: cfg.TLSServerName,
		password: cfg.SASLPasswordFile, token: cfg.SASLTokenFile, tokenURL: cfg.SASLTokenURL, clientID: cfg.SASLClientID,
		clientSecret: cfg.SASLClientSecretFile, timeout: cfg.AuthenticationTimeout,
	}
	if known, ok := identities.Load(key); ok {
		return known.(*identity)
	}
	id := &identity{cfg: *cfg, workload: credentials.New(&credentials.IAM{})}
	id.mu.refusals = map[string]*refusal{}
	known, _ := identities.LoadOrStore(key, id)
	return known.(*identity)
}

// OnBrokerConnect implements kgo.HookBrokerConnect: it hears of the end of each attempt to open a connection, of its
// authentication too.
func (id *identity) OnBrokerConnect(broker kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	id.connected(fmt.Sprintf("%s:%d", broker.Host, broker.Port), time.Now(), err)
}

// renewEvery bounds how often brokers that refuse can make this process ask for tokens and credentials.
const renewEvery = 10 * time.Second

// connected notes how an attempt to connect has ended. Attempts that fail for other reasons say nothing. After a time
// without any attempt the count begins anew.
func (id *identity) connected(addr string, now time.Time, err error) {
	if id.note(addr, now, err) { // what was fetched may have been revoked
		id.tokens.Lock()
		id.tokens.token = nil
		id.tokens.Unlock()
		id.workload.Expire()
	}
}

// note says whether what was fetched to authenticate with is to be fetched anew.
func (id *identity) note(addr string, now time.Time, err error) (renew bool) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if err == nil {
		delete(id.mu.refusals, addr)
		return false
	}
	if !isAuthentication(err) {
		return false
	}
	if renew = now.Sub(id.mu.renewed) > renewEvery; renew {
		id.mu.renewed = now
	}
	timeout := id.cfg.AuthenticationTimeout
	r := id.mu.refusals[addr]
	if r == nil || now.Sub(r.last) > timeout {
		r = &refusal{since: now}
		id.mu.refusals[addr] = r
	}
	r.last, r.err = now, err
	if now.Sub(r.since) >= timeout {
		r.final = fmt.Errorf("connect to broker %s, in vain for %s (authentication.timeout): %w", addr, timeout, explain(&id.cfg, err))
	}
	return renew
}

// Refused returns why a broker has not let this process in for authentication.timeout; nil as long as there is hope.
func (c *Cluster) Refused() error {
	for _, r := range c.refusals() {
		if r.final != nil {
			return r.final
		}
	}
	return nil
}

// Refusing returns why a broker does not let this process in at the moment; nil where all do.
func (c *Cluster) Refusing() error {
	for _, r := range c.refusals() {
		if time.Since(r.last) < refusalFor {
			return explain(c.cfg, r.err)
		}
	}
	return nil
}

// refusalFor is how long after the last attempt a refusal counts: clients try again sooner.
const refusalFor = 10 * time.Second

func (c *Cluster) refusals() []refusal {
	c.id.mu.Lock()
	defer c.id.mu.Unlock()
	var all []refusal
	for _, r := range c.id.mu.refusals {
		all = append(all, *r)
	}
	return all
}

// checkFiles reads what connections will read, so that a wrong path is found at start.
func (id *identity) checkFiles() error {
	var errs []error
	if id.cfg.TLS {
		_, err := tlsConfig(&id.cfg, "")
		errs = append(errs, err)
	}
	for path, read := range map[string]func() (config.Secret, error){
		id.cfg.SASLPasswordFile:     id.cfg.SASLPassword,
		id.cfg.SASLTokenFile:        id.cfg.SASLToken,
		id.cfg.SASLClientSecretFile: id.cfg.SASLClientSecret,
	} {
		if path != "" {
			if _, err := read(); err != nil {
				errs = append(errs, &credentialError{err})
			}
		}
	}
	return errors.Join(errs...)
}
