// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/aws"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/streamd/streamd/engine/config"
)

// mechanism returns how the client authenticates; nil where none is configured. Secrets are read when a connection
// authenticates, and when it does so again because its session ends.
func (id *identity) mechanism() (sasl.Mechanism, error) {
	switch m := id.cfg.Mechanism(); m {
	case config.SASLNone:
		return nil, nil
	case config.SASLPlain:
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			pass, err := id.password()
			return plain.Auth{User: id.cfg.SASLUser, Pass: pass}, err
		}), nil
	case config.SASLScram256:
		return scram.Sha256(id.scram), nil
	case config.SASLScram512:
		return scram.Sha512(id.scram), nil
	case config.SASLOAuthBearer:
		return bearer{oauth.Oauth(id.oauth)}, nil
	case config.SASLAWS:
		return aws.ManagedStreamingIAM(id.aws), nil
	default:
		return nil, fmt.Errorf("sasl.mechanism %q is not known: use %s", m, strings.Join(config.SASLMechanisms(), ", "))
	}
}

func (id *identity) password() (string, error) {
	pass, err := id.cfg.SASLPassword()
	if err != nil {
		return "", &credentialError{err}
	}
	return pass.Reveal(), nil
}

func (id *identity) scram(context.Context) (scram.Auth, error) {
	pass, err := id.password()
	return scram.Auth{User: id.cfg.SASLUser, Pass: pass}, err
}

func (id *identity) oauth(ctx context.Context) (oauth.Auth, error) {
	token, err := id.token(ctx)
	if err != nil {
		return oauth.Auth{}, &credentialError{err}
	}
	auth := oauth.Auth{Token: token, Extensions: map[string]string{}}
	for _, e := range id.cfg.SASLExtensions {
		name, value, _ := strings.Cut(e, "=")
		auth.Extensions[name] = value
	}
	return auth, nil
}

// bearer recognises a refusal: a broker answers it with a document, not with an error.
type bearer struct{ sasl.Mechanism }

// Authenticate implements sasl.Mechanism.
func (b bearer) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	session, message, err := b.Mechanism.Authenticate(ctx, host)
	return bearerSession{session}, message, err
}

type bearerSession struct{ sasl.Session }

// Challenge implements sasl.Session.
func (s bearerSession) Challenge(answer []byte) (bool, []byte, error) {
	if len(answer) == 0 {
		return s.Session.Challenge(answer)
	}
	var refused struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(answer, &refused) != nil || refused.Status == "" {
		refused.Status = "no reason"
	}
	return false, nil, fmt.Errorf("the broker refuses the token (%.100s): %w", refused.Status, kerr.SaslAuthenticationFailed)
}

// token returns the bearer token: of the file, or of the token endpoint.
func (id *identity) token(ctx context.Context) (string, error) {
	if id.cfg.SASLTokenURL == "" {
		token, err := id.cfg.SASLToken()
		return token.Reveal(), err
	}
	id.tokens.Lock()
	defer id.tokens.Unlock()
	if t := id.tokens.token; t.Valid() && (t.Expiry.IsZero() || time.Until(t.Expiry) > tokenMargin) {
		return t.AccessToken, nil
	}
	t, err := fetchToken(ctx, &id.cfg)
	if err != nil {
		return "", fmt.Errorf("fetch a token from %s: %w", id.cfg.SASLTokenURL, err)
	}
	id.tokens.token = t
	return t.AccessToken, nil
}

const (
	// tokenMargin is how long before its end a token is not used any more: a handshake must be over by then, and the
	// broker's clock may be ahead.
	tokenMargin = 30 * time.Second
	// tokenTimeout bounds one request to the token endpoint; every connection that opens meanwhile waits for it.
	tokenTimeout = 10 * time.Second
)

var errRedirected = errors.New("the token endpoint redirects; name where it redirects to, so that the client secret goes nowhere else")

// fetchToken asks the token endpoint. What the endpoint answers is not repeated in errors beyond the fields that the
// protocol has for that.
func fetchToken(ctx context.Context, cfg *config.Config) (*oauth2.Token, error) {
	secret, err := cfg.SASLClientSecret()
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: tokenTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirected }}
	flow := clientcredentials.Config{
		ClientID: cfg.SASLClientID, ClientSecret: secret.Reveal(), TokenURL: cfg.SASLTokenURL, Scopes: cfg.SASLScopes,
	}
	t, err := flow.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return nil, fmt.Errorf("it answered %s %s: check sasl.oauth-client-id, sasl.oauth-scopes and the content of sasl.oauth-client-secret-file", refused.Response.Status, refused.ErrorCode)
	}
	return t, err
}

// aws returns credentials of the first place that has some. Those of the environment and of files are read each time;
// those of a workload's identity are fetched when they are about to expire.
func (id *identity) aws(ctx context.Context) (aws.Auth, error) {
	local := credentials.New(&credentials.Chain{Providers: []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}}})
	request := &credentials.CredContext{Client: &http.Client{Timeout: tokenTimeout}, Context: ctx}
	got, err := local.GetWithContext(request)
	if err != nil || got.AccessKeyID == "" {
		got, err = id.workload.GetWithContext(request)
	}
	if err == nil && got.AccessKeyID == "" {
		err = errNoAWS
	}
	if err != nil {
		return aws.Auth{}, &credentialError{fmt.Errorf("find AWS credentials: %w", err)}
	}
	return aws.Auth{AccessKey: got.AccessKeyID, SecretKey: got.SecretAccessKey, SessionToken: got.SessionToken, UserAgent: "streamd"}, nil
}

var errNoAWS = errors.New("neither the environment, nor the shared file, nor the workload's identity has any")
