// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Resource is a kind of thing that Kafka protects.
type Resource string

// The resources.
const (
	TopicResource           Resource = "topic"
	GroupResource           Resource = "group"
	TransactionalIDResource Resource = "transactional-id"
	ClusterResource         Resource = "cluster"
)

// Operation is what may be done to a resource. As in Kafka, whoever may read, write or delete may describe.
type Operation string

// The operations.
const (
	Read     Operation = "Read"
	Write    Operation = "Write"
	Create   Operation = "Create"
	Delete   Operation = "Delete"
	Describe Operation = "Describe"

	// IdempotentWrite is what brokers before 2.8 ask of a producer without transactions, beside Write.
	IdempotentWrite Operation = "IdempotentWrite"
)

// Grant is a right that a principal needs.
type Grant struct {
	Resource  Resource  `json:"resource"`
	Name      string    `json:"name"`
	Prefixed  bool      `json:"prefixed"` // it is about all names that begin so
	Operation Operation `json:"operation"`
	Why       string    `json:"why"`
}

// String gives "Read on topic orders", "Write on topics that begin with spend-".
func (g Grant) String() string {
	kind := strings.ReplaceAll(string(g.Resource), "-", " ")
	if g.Prefixed {
		return fmt.Sprintf("%s on %ss that begin with %s", g.Operation, kind, g.Name)
	}
	return fmt.Sprintf("%s on %s %s", g.Operation, kind, g.Name)
}

// DeniedError is that a grant is missing.
type DeniedError struct {
	Missing Grant
	Err     error
}

// Error names the grant.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("%v; this principal lacks the grant: %v; the command acl prints all that are needed", e.Err, e.Missing)
}

// Unwrap gives the broker's error.
func (e *DeniedError) Unwrap() error { return e.Err }

// denied adds to a broker's refusal which grant is missing: the first of those that may be that is of the refused kind.
// Other errors stay as they are.
func denied(err error, candidates ...Grant) error {
	for refusal, kind := range map[error]Resource{
		kerr.TopicAuthorizationFailed: TopicResource, kerr.GroupAuthorizationFailed: GroupResource,
		kerr.TransactionalIDAuthorizationFailed: TransactionalIDResource, kerr.ClusterAuthorizationFailed: ClusterResource,
	} {
		if !errors.Is(err, refusal) {
			continue
		}
		for _, g := range candidates {
			if g.Resource == kind {
				return &DeniedError{g, err}
			}
		}
	}
	return err
}

func onTopic(op Operation, name string) Grant {
	return Grant{Resource: TopicResource, Name: name, Operation: op}
}

func onGroup(op Operation, id string) Grant {
	return Grant{Resource: GroupResource, Name: id, Operation: op}
}

var idempotence = Grant{Resource: ClusterResource, Name: "kafka-cluster", Operation: IdempotentWrite}

func onTransaction(id string) Grant {
	return Grant{Resource: TransactionalIDResource, Name: id, Operation: Write}
}
