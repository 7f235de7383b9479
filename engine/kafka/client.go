// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/streamd/streamd/engine/config"
)

// dialTimeout bounds one attempt to connect; the client goes on to another broker after it.
const dialTimeout = 5 * time.Second

// ClientOptions gives the options that every client of the process shares: where the brokers are, how to
// authenticate, how long to try. It reads no file: certificates, passwords and tokens are read for each connection.
func ClientOptions(cfg *config.Config) ([]kgo.Opt, error) {
	id := identityOf(cfg)
	opts := []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID(cfg.ClientID),
		kgo.SoftwareNameAndVersion("streamd", "0"),
		kgo.MaxVersions(requestVersions()),
		kgo.RetryTimeout(cfg.RequestTimeout),
		kgo.RequestTimeoutOverhead(min(cfg.RequestTimeout, 10*time.Second)),
		// A created topic, or a partition that has moved, should not wait for the default of five minutes.
		kgo.MetadataMaxAge(30 * time.Second),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.WithHooks(id),
	}
	if cfg.TLS {
		opts = append(opts, kgo.Dialer(id.dialTLS))
	} else {
		opts = append(opts, kgo.DialTimeout(dialTimeout))
	}
	mechanism, err := id.mechanism()
	if err != nil {
		return nil, err
	}
	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

// requestVersions keeps requests about committed offsets below the versions that name topics by id: this package
// names them by name. That a topic was not created again behind its name is checked where ids are recorded.
func requestVersions() *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.OffsetCommit), 9)
	v.SetMaxKeyVersion(int16(kmsg.OffsetFetch), 9)
	v.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), 5)
	return v
}
