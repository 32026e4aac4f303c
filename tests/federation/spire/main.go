// Command spire is one trust domain with SPIRE's own code on every wire that strait or a sidecar sees: the bundle
// endpoint, the client that polls other bundle endpoints, the certificate authority, and the agent's cache and SDS
// handler. Of SPIRE it lacks what tests do not look at: databases, attestation, the API between agent and server. So it
// builds in a minute, and a test turns time and mistakes as it needs them.
//
// Commands come on standard input, one a line, and each is answered by one line on standard output: "ok", perhaps with
// words, or "error" and the reason. The program ends with its standard input. Standard error has SPIRE's log.
//
//	show                         the own bundle, as one line of JSON
//	set DOMAIN BUNDLE            has another's bundle from now on, by hand
//	forget DOMAIN                has it no more, and no entry federates with it (bundle delete -mode dissociate)
//	known DOMAIN                 the key IDs of another's authorities
//	federate DOMAIN URL ID       fetches its bundle from now on; the endpoint must show that SPIFFE ID, or with "web"
//	                             a certificate of the web
//	refresh DOMAIN               fetches it now
//	workload NAME ID TTL [DOMAIN...]   the sidecar NAME has that SVID from now on, and the bundles of these domains.
//	                             It is renewed at half of its life; not so "once:TTL", and a negative TTL, which has
//	                             ended so long ago. The answer is the path of its SDS socket
//	socket NAME                  as workload, without any entry
//	unregister NAME              removes the entry
//	mint FILE ID TTL             writes FILE.pem, FILE.key and FILE.bundle
//	prepare, activate, taint, revoke   the steps of a rotation of the X.509 authority; the answer is its key ID
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/spire/pkg/common/bundleutil"
	"github.com/spiffe/spire/pkg/common/pemutil"
	"github.com/spiffe/spire/pkg/common/telemetry"
	"github.com/spiffe/spire/pkg/common/x509util"
	"github.com/spiffe/spire/pkg/server/bundle/client"
	"github.com/spiffe/spire/pkg/server/endpoints/bundle"
	"github.com/spiffe/spire/pkg/server/svid"
)

// longestLine is more than a bundle with many authorities has.
const longestLine = 1 << 20

// longestRotation is far more than the server needs for a new SVID.
const longestRotation = 10 * time.Second

// domain is everything of one trust domain.
type domain struct {
	authority *authorities
	store     *store
	agent     *agent
	client    *client.Manager
	// The SVID of the bundle endpoint.
	server *svid.Rotator
}

// settings are the command line.
type settings struct {
	name, endpoint, folder, dns, web, api string
	hint                                  time.Duration
	life                                  authorityLife
	sdsDefaults                           bool
}

func main() {
	var s settings
	flag.StringVar(&s.name, "trust-domain", "", "the trust domain")
	flag.StringVar(&s.endpoint, "endpoint", "", "the address of the bundle endpoint")
	flag.StringVar(&s.folder, "sockets", ".", "the folder of the SDS sockets")
	flag.StringVar(&s.dns, "dns", "", "the address of the name server")
	flag.StringVar(&s.web, "web", "", "the DNS name in the bundle endpoint's certificate, in place of an SVID")
	flag.StringVar(&s.api, "api", "", "the address of what looks like the server's API")
	flag.DurationVar(&s.hint, "hint", 5*time.Minute, "the refresh hint of the bundle")
	flag.DurationVar(&s.life.ttl, "ca-ttl", 24*time.Hour, "the life of an authority")
	flag.DurationVar(&s.life.age, "ca-age", 0, "the age of the first authority")
	flag.DurationVar(&s.life.ahead, "ahead", 0, "how far the clock by which it signs is ahead")
	flag.BoolVar(&s.sdsDefaults, "sds-defaults", false, "SDS has the names of SPIRE's defaults")
	flag.Parse()
	log := logrus.New()
	log.SetLevel(logrus.DebugLevel)
	if err := run(s, log); err != nil {
		log.Fatal(err)
	}
}

func run(s settings, log *logrus.Logger) error {
	if s.dns != "" {
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.dns)
		}}
	}
	td, err := spiffeid.TrustDomainFromString(s.name)
	if err != nil {
		return err
	}
	authority, err := newAuthorities(td, log, s.life)
	if err != nil {
		return err
	}
	d := &domain{authority: authority}
	d.store = newStore(func() {
		if err := d.agent.sync(); err != nil {
			log.WithError(err).Error("cannot bring the cache up to date")
		}
	}, authority.stored)
	if d.agent, err = newAgent(authority, d.store, s, log); err != nil {
		return err
	}
	d.client = client.NewManager(client.ManagerConfig{Log: log, Metrics: telemetry.Blackhole{}, DataStore: d.store, Source: d.store})
	ctx := context.Background()
	d.server = svid.NewRotator(&svid.RotatorConfig{Log: log, Metrics: telemetry.Blackhole{}, ServerCA: authority, KeyType: keyType, Interval: syncInterval})
	if err := d.server.Initialize(ctx); err != nil {
		return err
	}
	auth, err := d.endpointAuth(s, log)
	if err != nil {
		return err
	}
	if s.api != "" {
		if err := serveAPI(s.api, bundle.SPIFFEAuth(d.serverSVID), log); err != nil {
			return err
		}
	}
	server := bundle.NewServer(bundle.ServerConfig{Log: log, Address: s.endpoint, RefreshHint: s.hint,
		Getter: bundle.GetterFunc(authority.bundle), ServerAuth: auth})
	go func() { log.Fatal(d.server.Run(ctx)) }()
	go func() { log.Fatal(server.ListenAndServe(ctx)) }()
	go func() { log.Fatal(d.client.Run(ctx)) }()
	go d.agent.run()
	return d.obey()
}

// obey does what standard input says.
func (d *domain) obey() error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		answer, err := d.do(words[0], words[1:])
		if err != nil {
			fmt.Println("error", strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println(strings.TrimSpace("ok " + answer))
		}
	}
	return lines.Err()
}

// needed is the number of words that a command has at least.
var needed = map[string]int{"show": 0, "set": 2, "forget": 1, "known": 1, "federate": 3, "refresh": 1, "workload": 3,
	"socket": 1, "unregister": 1, "mint": 3, "prepare": 0, "activate": 0, "taint": 0, "revoke": 0}

func (d *domain) do(command string, words []string) (string, error) {
	if least, ok := needed[command]; !ok || len(words) < least {
		return "", errors.New("no such command, or too few words")
	}
	switch command {
	case "show":
		return d.show()
	case "workload":
		id, life, err := identity(words[1], words[2])
		if err != nil {
			return "", err
		}
		if err := d.agent.register(words[0], id, life, words[3:]); err != nil {
			return "", err
		}
		return d.agent.serve(words[0])
	case "socket":
		return d.agent.serve(words[0])
	case "unregister":
		return "", d.agent.unregister(words[0])
	case "mint":
		return "", d.mint(words[0], words[1], words[2])
	case "prepare", "activate", "taint", "revoke":
		return d.rotate(command)
	}
	return d.federation(command, words)
}

// federation does the commands about another trust domain.
func (d *domain) federation(command string, words []string) (string, error) {
	other, err := spiffeid.TrustDomainFromString(words[0])
	if err != nil {
		return "", err
	}
	ctx := context.Background()
	switch command {
	case "set":
		given, err := bundleutil.Decode(other, strings.NewReader(strings.Join(words[1:], " ")))
		if err != nil {
			return "", err
		}
		stored, err := bundleutil.SPIFFEBundleToProto(given)
		if err != nil {
			return "", err
		}
		_, err = d.store.SetBundle(ctx, stored)
		return "", err
	case "forget":
		d.store.forget(other)
		return "", d.agent.dissociate(other)
	case "known":
		return d.known(other)
	case "federate":
		config := client.TrustDomainConfig{EndpointURL: words[1], EndpointProfile: client.HTTPSWebProfile{}}
		if words[2] != "web" {
			id, err := spiffeid.FromString(words[2])
			if err != nil {
				return "", err
			}
			config.EndpointProfile = client.HTTPSSPIFFEProfile{EndpointSPIFFEID: id}
		}
		d.store.federate(other, config)
		d.client.TriggerConfigReload()
	case "refresh":
		managed, err := d.client.RefreshBundleFor(ctx, other)
		if err == nil && !managed {
			err = errors.New("not federated with it")
		}
		return "", err
	}
	return "", nil
}

func (d *domain) show() (string, error) {
	own, err := d.authority.bundle(context.Background())
	if err != nil {
		return "", err
	}
	text, err := bundleutil.Marshal(own)
	if err != nil {
		return "", err
	}
	var line bytes.Buffer
	err = json.Compact(&line, text)
	return line.String(), err
}

func (d *domain) known(other spiffeid.TrustDomain) (string, error) {
	stored := d.store.all()[other.IDString()]
	if stored == nil {
		return "", nil
	}
	known, err := bundleutil.SPIFFEBundleFromProto(stored)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, authority := range known.X509Authorities() {
		ids = append(ids, keyID(authority))
	}
	return strings.Join(ids, " "), nil
}

// rotate does a step and has everybody who signs or trusts know of it.
func (d *domain) rotate(step string) (string, error) {
	id, tainted, err := d.authority.rotate(step)
	if err != nil {
		return "", err
	}
	// Before SVIDs are taken away: while a sidecar has none, SPIRE's cache would send it no bundle of another domain.
	if err := d.agent.sync(); err != nil {
		return "", err
	}
	if tainted != nil {
		d.authority.NotifyTaintedX509Authorities(tainted)
		d.agent.taint(tainted)
		for end := time.Now().Add(longestRotation); ; time.Sleep(syncInterval) {
			if old, err := x509util.IsSignedByRoot(d.server.State().SVID, tainted); err != nil {
				return "", err
			} else if !old {
				break
			}
			if time.Now().After(end) {
				return "", errors.New("the server keeps its SVID of the tainted authority")
			}
		}
	}
	return id, d.agent.sync()
}

func identity(id, ttl string) (spiffeid.ID, life, error) {
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		return parsed, life{}, err
	}
	ttl, once := strings.CutPrefix(ttl, "once:")
	lifetime, err := time.ParseDuration(ttl)
	if err == nil && lifetime == 0 {
		err = errors.New("a TTL of 0")
	}
	return parsed, life{ttl: lifetime, renewed: lifetime > 0 && !once}, err
}

func (d *domain) mint(file, id, ttl string) error {
	parsed, life, err := identity(id, ttl)
	if err != nil {
		return err
	}
	chain, key, err := d.authority.sign(parsed, life.ttl)
	if err != nil {
		return err
	}
	secret, err := pemutil.EncodePKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	own, err := d.authority.bundle(context.Background())
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(file+".pem", pemutil.EncodeCertificates(chain), 0o600),
		os.WriteFile(file+".key", secret, 0o600),
		os.WriteFile(file+".bundle", pemutil.EncodeCertificates(own.X509Authorities()), 0o600))
}
