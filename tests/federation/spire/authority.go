package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/andres-erbsen/clock"
	"github.com/sirupsen/logrus"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/spire/pkg/common/bundleutil"
	"github.com/spiffe/spire/pkg/common/health"
	"github.com/spiffe/spire/pkg/common/telemetry"
	"github.com/spiffe/spire/pkg/common/x509util"
	"github.com/spiffe/spire/pkg/server/ca"
	"github.com/spiffe/spire/pkg/server/credtemplate"
	"github.com/spiffe/spire/pkg/server/credvalidator"
	"github.com/spiffe/spire/pkg/server/plugin/keymanager"
	"github.com/spiffe/spire/proto/spire/common"
)

// keyType is SPIRE's default.
const keyType = keymanager.ECP256

// authorities are a trust domain's X.509 authorities: SPIRE's own CA signs, and its slots, which SPIRE's manager
// keeps in a database, are three fields.
type authorities struct {
	*ca.CA
	domain spiffeid.TrustDomain
	log    logrus.FieldLogger
	life   authorityLife

	mu                    sync.Mutex
	active, prepared, old *ca.X509CA
	tainted               bool
	sequence              uint64
}

// authorityLife is how long authorities live, how old the first one is, and how far the clock of all that signs is ahead.
type authorityLife struct {
	ttl, age, ahead time.Duration
}

// clock is what authorities sign by.
func (l authorityLife) clock() clock.Clock { return shifted{clock.New(), l.ahead} }

// shifted is a clock that is ahead.
type shifted struct {
	clock.Clock
	by time.Duration
}

func (s shifted) Now() time.Time { return s.Clock.Now().Add(s.by) }

func newAuthorities(domain spiffeid.TrustDomain, log logrus.FieldLogger, life authorityLife) (*authorities, error) {
	a := &authorities{domain: domain, log: log, life: life, sequence: 1}
	signer, err := a.signerAt(life.clock())
	if err != nil {
		return nil, err
	}
	a.CA = signer
	if a.active, err = a.create(life.age); err != nil {
		return nil, err
	}
	a.SetX509CA(a.active)
	return a, nil
}

func (a *authorities) builderAt(now clock.Clock) (*credtemplate.Builder, error) {
	return credtemplate.NewBuilder(credtemplate.Config{
		TrustDomain: a.domain,
		Clock:       now,
		X509CATTL:   a.life.ttl,
		// The name is in the list of CAs that a server sends to its clients.
		X509CASubject: pkix.Name{Country: []string{"US"}, Organization: []string{"SPIFFE"}, CommonName: a.domain.Name()},
	})
}

// signerAt is SPIRE's CA without a key, with that clock.
func (a *authorities) signerAt(now clock.Clock) (*ca.CA, error) {
	builder, err := a.builderAt(now)
	if err != nil {
		return nil, err
	}
	validator, err := credvalidator.New(credvalidator.Config{Clock: now, TrustDomain: a.domain})
	if err != nil {
		return nil, err
	}
	return ca.NewCA(ca.Config{Log: a.log, Clock: now, Metrics: telemetry.Blackhole{}, TrustDomain: a.domain,
		CredBuilder: builder, CredValidator: validator, HealthChecker: unchecked{}}), nil
}

type unchecked struct{}

func (unchecked) AddCheck(string, health.Checkable) error { return nil }

// ago is a clock that stands still.
func ago(age time.Duration) clock.Clock {
	past := clock.NewMock()
	past.Set(time.Now().Add(-age))
	return past
}

// create makes an authority that signs itself, as if so long ago.
func (a *authorities) create(age time.Duration) (*ca.X509CA, error) {
	builder, err := a.builderAt(ago(age - a.life.ahead))
	if err != nil {
		return nil, err
	}
	key, err := keyType.GenerateSigner()
	if err != nil {
		return nil, err
	}
	template, err := builder.BuildSelfSignedX509CATemplate(context.Background(), credtemplate.SelfSignedX509CAParams{PublicKey: key.Public()})
	if err != nil {
		return nil, err
	}
	cert, err := x509util.CreateCertificate(template, template, key.Public(), key)
	return &ca.X509CA{Signer: key, Certificate: cert}, err
}

// sign makes an SVID that ends after ttl, or has ended so long ago if that is negative.
func (a *authorities) sign(id spiffeid.ID, ttl time.Duration) ([]*x509.Certificate, crypto.Signer, error) {
	key, err := keyType.GenerateSigner()
	if err != nil {
		return nil, nil, err
	}
	signer := a.CA
	if ttl < 0 {
		if signer, err = a.signerAt(ago(time.Hour - ttl)); err != nil {
			return nil, nil, err
		}
		signer.SetX509CA(a.X509CA())
		ttl = time.Hour
	}
	chain, err := signer.SignWorkloadX509SVID(context.Background(),
		ca.WorkloadX509SVIDParams{PublicKey: key.Public(), SPIFFEID: id, TTL: ttl})
	return chain, key, err
}

// stored is the own bundle as SPIRE's database has it.
func (a *authorities) stored() *common.Bundle {
	a.mu.Lock()
	defer a.mu.Unlock()
	bundle := &common.Bundle{TrustDomainId: a.domain.IDString(), SequenceNumber: a.sequence}
	// In the order in which they were made, as the database has them.
	for _, authority := range []*ca.X509CA{a.old, a.active, a.prepared} {
		if authority != nil {
			root := &common.Certificate{DerBytes: authority.Certificate.Raw, TaintedKey: authority == a.old && a.tainted}
			bundle.RootCas = append(bundle.RootCas, root)
		}
	}
	return bundle
}

func (a *authorities) bundle(context.Context) (*spiffebundle.Bundle, error) {
	return bundleutil.SPIFFEBundleFromProto(a.stored())
}

// rotate does one step of a rotation, in SPIRE's words and with its rules. The answer is the key ID of the authority
// that the step was about; taint returns its certificate too.
func (a *authorities) rotate(step string) (string, []*x509.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var about *ca.X509CA
	var tainted []*x509.Certificate
	switch {
	case step == "prepare":
		next, err := a.create(0)
		if err != nil {
			return "", nil, err
		}
		a.prepared, about = next, next
		a.sequence++
	case step == "activate" && a.prepared == nil:
		return "", nil, errors.New("no prepared authority")
	case step == "activate":
		a.active, a.old, a.prepared, a.tainted = a.prepared, a.active, nil, false
		about = a.active
		a.SetX509CA(a.active)
	case a.old == nil:
		return "", nil, errors.New("no old authority: the active one cannot be tainted or revoked")
	case step == "taint":
		a.tainted, about = true, a.old
		tainted = []*x509.Certificate{a.old.Certificate}
		a.sequence++
	case step == "revoke" && !a.tainted:
		return "", nil, errors.New("only a tainted authority can be revoked")
	case step == "revoke":
		about, a.old = a.old, nil
		a.sequence++
	default:
		return "", nil, fmt.Errorf("no step %q", step)
	}
	return keyID(about.Certificate), tainted, nil
}

// keyID is a certificate's name in SPIRE's commands.
func keyID(of *x509.Certificate) string {
	return x509util.SubjectKeyIDToString(of.SubjectKeyId)
}
