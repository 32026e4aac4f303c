package rig

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Strait is how a process of strait is started. The zero value is what the manifests say, at an address of its own.
type Strait struct {
	// Config is a whole config; without it that of config/kubernetes/base.
	Config string
	// Edit changes the text of the config, before its addresses are replaced: "[::]" becomes the gateway's own.
	Edit func(string) string
	// AsIs leaves the addresses of the config alone. Only one process at a time can be like this.
	AsIs bool
	// APIHost is the address of the API in the environment; see Uplink.
	APIHost string
	// Account is the service account that it runs as, and with it the namespace and the class of its Gateways. Without
	// it, those of the manifests.
	Account *Account
	// Env is added to the environment, each KEY=VALUE.
	Env []string
	// Node and zone are those of the pod: "node-0" and "r1-a" by default.
	Node, Zone string
	// Args come after `run --config FILE`.
	Args []string
}

// Gateway is a process of strait.
type Gateway struct {
	*Process
	// Host is where it listens: the export listener on 15443, admin, status and metrics on their usual ports. For AsIs
	// it is 10.98.1.1, and the admin server is on 127.0.0.1.
	Host string
	// Number is unique in the program.
	Number int
	// Account is what it runs as.
	Account *Account
	// ConfigPath is the config that it runs with; it can be written to.
	ConfigPath string

	admin, status, metrics string
	access                 string
}

// Root is the folder of the repository.
func Root() string {
	folder, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for folder != "/" {
		if _, err := os.Stat(filepath.Join(folder, "Cargo.toml")); err == nil {
			return folder
		}
		folder = filepath.Dir(folder)
	}
	panic("rig: the tests must run in the repository")
}

// BaseConfig is the text of config/kubernetes/base/strait.yaml.
func BaseConfig() string {
	text, err := os.ReadFile(filepath.Join(Root(), "config/kubernetes/base/strait.yaml"))
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Strait starts a process of strait, and kills it at the end of the test. It applies the manifests first if they are
// not there.
func (c *Cluster) Strait(t testing.TB, as Strait) *Gateway {
	t.Helper()
	g := c.NewStrait(t, as)
	g.Start(t)
	return g
}

// NewStrait is Strait without the start.
func (c *Cluster) NewStrait(t testing.TB, as Strait) *Gateway {
	t.Helper()
	n := 1
	if !as.AsIs {
		n = int(c.straits.Add(1))
	}
	host := fmt.Sprintf("10.98.1.%d", n)
	g := &Gateway{
		Number: n, Host: host, Account: as.Account, ConfigPath: fmt.Sprintf("%s/strait-%d.yaml", dir, n),
		admin: host + ":15000", status: host + ":15021", metrics: host + ":15090", access: fmt.Sprintf("%s/access-%d.log", dir, n),
	}
	text := as.Config
	if text == "" {
		text = BaseConfig()
	}
	if as.Edit != nil {
		text = as.Edit(text)
	}
	if as.AsIs {
		g.admin = "127.0.0.1:15000"
	} else {
		text = strings.ReplaceAll(text, "[::]:", host+":")
		text = strings.Replace(text, "gateway_api: { ", "gateway_api: { address: "+host+", ", 1)
		text += fmt.Sprintf("\nadmin: { bind: %q }\nstatus: { bind: %q }\nmetrics: { bind: %q }\n", g.admin, g.status, g.metrics)
	}
	if g.Account == nil {
		g.Account = c.ManifestsAccount(t)
	}
	text = strings.Replace(text, "gateway_api: { ", "gateway_api: { "+g.Account.settings(), 1)
	if err := os.WriteFile(g.ConfigPath, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	g.Process = &Process{Name: fmt.Sprintf("strait-%d", n), command: func() *exec.Cmd {
		return c.inPod(g, as, append([]string{"run", "--config", g.ConfigPath}, as.Args...)...)
	}}
	t.Cleanup(func() {
		g.Kill(t)
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", g.Name, Tail(g.Log(), 40))
		}
	})
	return g
}

// inPod is a command of strait with the user, rights, environment and files that the manifests give its container.
func (c *Cluster) inPod(g *Gateway, as Strait, arguments ...string) *exec.Cmd {
	or := func(value, otherwise string) string {
		if value == "" {
			return otherwise
		}
		return value
	}
	user := []string{"setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"}
	if c.user != 0 {
		user = append(user, fmt.Sprintf("--reuid=%d", c.user), fmt.Sprintf("--regid=%d", c.user), "--clear-groups")
	}
	words := append([]string{"--mount", "sh", "-euc", `mount --bind "$1" "$2"; shift 2; exec "$@"`, "strait", g.Account.Dir, accountDir}, user...)
	words = append(words, dir+"/strait")
	command := exec.Command("unshare", append(words, arguments...)...)
	command.Env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOSTNAME=" + g.Name,
		"KUBERNETES_SERVICE_HOST=" + or(as.APIHost, APIHost),
		fmt.Sprintf("KUBERNETES_SERVICE_PORT=%d", APIPort),
		"STRAIT_NODE_NAME=" + or(as.Node, "node-0"),
		"STRAIT_ZONE=" + or(as.Zone, "r1-a"),
	}, as.Env...)
	if access, err := os.OpenFile(g.access, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err == nil {
		command.Stdout = access
	}
	return command
}

// Run runs another subcommand of strait as in the gateway's pod, such as explain, and returns its output.
func (c *Cluster) Run(t testing.TB, g *Gateway, arguments ...string) string {
	t.Helper()
	command := c.inPod(g, Strait{}, arguments...)
	command.Stdout = nil
	out, err := command.CombinedOutput()
	if err != nil {
		t.Logf("strait %v: %v", arguments, err)
	}
	return string(out)
}

// Address is host:port of a listener.
func (g *Gateway) Address(port int) string { return net.JoinHostPort(g.Host, strconv.Itoa(port)) }

var client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func get(url string) (int, string, error) {
	response, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// Get asks the admin server.
func (g *Gateway) Get(t testing.TB, path string) string {
	t.Helper()
	_, body, err := get("http://" + g.admin + path)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// Ready says whether /healthz/ready answers 200, and what it answers.
func (g *Gateway) Ready() (bool, string) {
	code, body, err := get("http://" + g.status + "/healthz/ready")
	return err == nil && code == http.StatusOK, body
}

// WaitReady waits until the gateway is ready.
func (g *Gateway) WaitReady(t testing.TB) {
	t.Helper()
	if !Within(2*time.Minute, func() bool { ready, _ := g.Ready(); return ready || !g.Running() }) || !g.Running() {
		_, body := g.Ready()
		t.Fatalf("%s is not ready: %s", g.Name, body)
	}
}

// Kinds is the number of kinds that a gateway with the base config watches in the rig's cluster.
const Kinds = 14.0

// WaitWatched waits until it watches all kinds, and returns their number. A gateway that is ready may have just lost a
// watch: the API server breaks watches off while it sets up a kind.
func (g *Gateway) WaitWatched(t testing.TB) float64 {
	t.Helper()
	Eventually(t, "all kinds are watched, and none is stale", 2*time.Minute, func() bool {
		return g.Metric("strait_kubernetes_watch_up") == Kinds && g.Metric("strait_kubernetes_stale") == 0
	})
	return Kinds
}

var metric = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? (\S+)$`)

// Metric adds up the metrics of a name whose labels contain all the given ones, each KEY="VALUE".
func (g *Gateway) Metric(name string, labels ...string) float64 {
	sum := 0.0
	g.EachMetric(name, func(of string, value float64) {
		for _, label := range labels {
			if !strings.Contains(of, label) {
				return
			}
		}
		sum += value
	})
	return sum
}

// EachMetric calls visit with the labels and the value of each metric of a name.
func (g *Gateway) EachMetric(name string, visit func(labels string, value float64)) {
	_, body, _ := get("http://" + g.metrics + "/metrics")
	for _, found := range metric.FindAllStringSubmatch(body, -1) {
		if value, err := strconv.ParseFloat(found[3], 64); err == nil && found[1] == name {
			visit(found[2], value)
		}
	}
}

// AccessLog is what it has written to its standard output.
func (g *Gateway) AccessLog() string {
	text, _ := os.ReadFile(g.access)
	return string(text)
}

func (g *Gateway) to(call Call) Call {
	if call.To == "" {
		call.To = g.Address(15443)
	}
	return call
}

// Call makes a call through the gateway, by default to port 15443.
func (g *Gateway) Call(call Call) (Answer, error) { return g.to(call).Do() }

// Background makes calls through the gateway until Stop.
func (g *Gateway) Background(call Call, pause time.Duration) *Caller {
	return Background(g.to(call), pause)
}

// Reaches waits until a call ends at one of the pods with these addresses.
func (g *Gateway) Reaches(t testing.TB, call Call, addresses ...string) {
	t.Helper()
	var last string
	if !Within(2*time.Minute, func() bool {
		answer, err := g.Call(call)
		last = fmt.Sprint(answer, err)
		return err == nil && slices.Contains(addresses, answer.IP)
	}) {
		t.Fatalf("%+v reaches none of %v; the last answer: %s", call, addresses, last)
	}
}

// Refuses waits until a call is refused with an error that contains the text, such as "unrecognized name", the alert
// for a name that has no route.
func (g *Gateway) Refuses(t testing.TB, call Call, text string) {
	t.Helper()
	var last string
	if !Within(2*time.Minute, func() bool {
		answer, err := g.Call(call)
		last = fmt.Sprint(answer, err)
		// A gateway that cannot be reached refuses nothing.
		var network *net.OpError
		reached := !errors.As(err, &network) || network.Op != "dial"
		return err != nil && reached && strings.Contains(err.Error(), text)
	}) {
		t.Fatalf("%+v is not refused with %q; the last answer: %s", call, text, last)
	}
}
