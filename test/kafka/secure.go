// SPDX-License-Identifier: Apache-2.0

package kafkabroker

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The listeners of a broker that is made with Secured. Clients of the plain one are superusers.
const (
	// SASLListener speaks TLS, and takes PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER.
	SASLListener = "SECURE"
	// MutualListener speaks TLS with certificates on both sides; a client's common name is its user.
	MutualListener = "MUTUAL"
	// ClearListener takes the same mechanisms as SASLListener, without TLS.
	ClearListener = "CLEAR"
)

// Secured gives the options of a broker that authenticates clients and allows nothing that no ACL allows. Users are those
// of PLAIN, with their passwords; those of SCRAM are made at a running broker. OAUTHBEARER takes unsigned tokens. The
// broker's certificates are in the folder; see [WriteCertificates].
func Secured(dir string, users map[string]string) []Option {
	var plain strings.Builder
	plain.WriteString("org.apache.kafka.common.security.plain.PlainLoginModule required")
	for name, password := range users {
		fmt.Fprintf(&plain, ` user_%s="%s"`, name, password)
	}
	options := []Option{
		WithListener(SASLListener, "SASL_SSL"), WithListener(MutualListener, "SSL"), WithListener(ClearListener, "SASL_PLAINTEXT"),
		WithProperty("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
		WithProperty("super.users", "User:ANONYMOUS"),
		WithProperty("allow.everyone.if.no.acl.found", "false"),
		WithProperty("ssl.keystore.type", "PEM"),
		WithProperty("ssl.keystore.location", filepath.Join(dir, keyFile)),
		WithProperty("ssl.truststore.type", "PEM"),
		WithProperty("ssl.truststore.location", filepath.Join(dir, trustFile)),
		WithProperty("ssl.principal.mapping.rules", "RULE:^CN=([^,]+).*$/$1/"),
		WithProperty("listener.name."+strings.ToLower(MutualListener)+".ssl.client.auth", "required"),
	}
	scram := "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	for _, name := range []string{SASLListener, ClearListener} {
		prefix := "listener.name." + strings.ToLower(name) + "."
		options = append(options,
			WithProperty(prefix+"sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"),
			WithProperty(prefix+"plain.sasl.jaas.config", plain.String()+";"),
			WithProperty(prefix+"scram-sha-256.sasl.jaas.config", scram),
			WithProperty(prefix+"scram-sha-512.sasl.jaas.config", scram),
			WithProperty(prefix+"oauthbearer.sasl.jaas.config", `org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`),
		)
	}
	return options
}

const (
	keyFile   = "broker.pem"
	trustFile = "clients.pem"
)

// WriteCertificates writes what a broker made with Secured reads when it starts: its certificate, of the first authority
// and for hosts, and the authorities whose clients it lets in, which are all of them.
func WriteCertificates(dir string, hosts []string, authorities ...*Authority) error {
	certificate, key, err := authorities[0].Issue("broker", hosts...)
	if err != nil {
		return err
	}
	var trusted bytes.Buffer
	for _, a := range authorities {
		trusted.Write(a.PEM)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, keyFile), append(key, certificate...), 0o600),
		os.WriteFile(filepath.Join(dir, trustFile), trusted.Bytes(), 0o600),
	)
}
