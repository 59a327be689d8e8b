package house

import (
	"go/ast"
	"go/token"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"packetboat/internal/sys/config"
)

// tellers are folders that speak of all parameters, whatever is done with them.
var tellers = []string{"internal/sys/config", "cmd/mailadm/postconf", "cmd/mailadm/check", "cmd/mailadm/explain"}

// ofTheTable are parameters that sys/config itself acts on: others take their
// defaults from them.
var ofTheTable = []string{"config_directory", "mydomain", "mynetworks_style", "compatibility_level", "stress", "reject_tempfail_action",
	"default_delivery_status_filter", "default_destination_concurrency_positive_feedback", "default_destination_concurrency_negative_feedback",
	"default_transport_rate_delay", "default_delivery_slot_cost"}

// refusedByName are parameters that code looks at only to say that it cannot
// obey them.
var refusedByName = []string{}

// TestParams holds that the table of parameters tells the truth: a parameter
// is done only if some code reads it, and what code reads is done. Whoever
// builds a parameter gives its row in internal/sys/config/params.txt the state
// done, with a test that shows its behaviour.
func TestParams(t *testing.T) {
	read, named := readParams(t)
	rows := config.Params()
	for _, p := range config.ServiceSuffixes() {
		p.Name = "*" + p.Name
		rows = append(rows, p)
	}
	known := map[string]config.State{}
	for _, p := range rows {
		known[p.Name] = p.State
		switch where := read[p.Name]; {
		case p.State == config.StateDone && where == "" && !named[p.Name]:
			t.Errorf("params.txt: %s is done, but no code reads it", p.Name)
		case p.State != config.StateDone && where != "" && !contains(refusedByName, p.Name):
			t.Errorf("params.txt: %s is %s, but %s reads it: is it done?", p.Name, p.State, where)
		case p.State == config.StateOpen:
			t.Errorf("params.txt: %s is neither done nor accepted nor refused", p.Name)
		}
	}
	for name, where := range read {
		if _, ok := config.LookupParam(name); !ok && known[name] == "" && strings.HasPrefix(where, "tag ") {
			t.Errorf("%s: no parameter %s", where, name)
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// readParams returns the parameters that code reads, and where; and the strings
// that it names at all: a list of names may be read in a loop.
func readParams(t *testing.T) (read map[string]string, named map[string]bool) {
	read, named = map[string]string{}, map[string]bool{}
	for _, name := range ofTheTable {
		read[name] = "sys/config"
	}
	for _, f := range load(t) {
		if f.test || within(f.pkg, tellers) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			for name, how := range namesIn(n) {
				read[name] = how + " in " + f.path
			}
			if e, ok := n.(ast.Expr); ok {
				named[literal(e)] = true
			}
			return true
		})
	}
	// The families of a transport's parameters have rows of their own where the
	// default is another one: local_destination_recipient_limit.
	for _, p := range config.Params() {
		for _, s := range config.ServiceSuffixes() {
			transport, ok := strings.CutSuffix(p.Name, s.Name)
			if ok && transport == "local" && read["*"+s.Name] != "" {
				read[p.Name] = read["*"+s.Name]
			}
		}
	}
	return read, named
}

// namesIn returns the parameters that a node reads: tags of Options structs, what
// is asked of a config.Main, and the twins that lmtp(8) has of smtp(8)'s.
func namesIn(n ast.Node) map[string]string {
	names := map[string]string{}
	switch n := n.(type) {
	case *ast.Field:
		if n.Tag == nil {
			break
		}
		tag, _ := strconv.Unquote(n.Tag.Value)
		if name := reflect.StructTag(tag).Get("main"); name != "" {
			names[name] = "tag"
		}
	case *ast.CallExpr:
		sel, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || len(n.Args) == 0 || !contains([]string{"Get", "Raw", "Lookup"}, sel.Sel.Name) {
			break
		}
		if name := literal(n.Args[0]); name != "" {
			names[name] = "call"
		}
	case *ast.ValueSpec:
		if len(n.Names) != 1 || n.Names[0].Name != "lmtpNames" || len(n.Values) != 1 {
			break
		}
		for _, e := range n.Values[0].(*ast.CompositeLit).Elts {
			names["lmtp_"+strings.Replace(literal(e), "helo", "lhlo", 1)] = "list"
		}
	case *ast.BasicLit:
		if s := literal(n); strings.HasPrefix(s, "_") {
			names["*"+s] = "ending"
		}
	}
	return names
}

// literal returns the value of a string literal, "" for anything else.
func literal(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}
