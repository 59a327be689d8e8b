package agents

import (
	"os"
	"strings"
)

// testCase is one mail. Its user has an account, and an alias, files in his home
// or a transport of his own as stated. DIR stands for the world's folder.
type testCase struct {
	user     string
	to       string            // recipients, empty = user@mail.test
	from     string            // envelope sender; empty = snd@mail.test, "<>" = none
	header   string            // more of it
	aliases  map[string]string // name: value
	files    map[string]string // below the home, or with "/" below DIR
	options  string            // of a transport of its own
	program  string            // of that transport; empty = local
	pipe     string            // attributes of pipe(8)
	filtered bool              // comes in where a content_filter is
	differs  string            // why we do it otherwise
	change   func(w *world, home string, uid int)
}

func (c *testCase) agent() string {
	if c.program != "" {
		return c.program
	}
	return "local"
}

func (c *testCase) sender() string {
	switch c.from {
	case "":
		return "Snd@mail.test"
	case "<>":
		return ""
	}
	return c.from
}

func (c *testCase) rcpts() []string {
	if c.to == "" {
		return []string{c.user + "@mail.test"}
	}
	return strings.Fields(c.to)
}

const mainCF = `compatibility_level = 3.6
queue_directory = DIR/q
data_directory = DIR/data
maillog_file = DIR/mail.log
maillog_file_prefixes = /var/tmp
myhostname = mail.test
mydomain = test
myorigin = mail.test
mydestination = mail.test, localhost
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
local_recipient_maps =
virtual_mailbox_domains = v.test
virtual_mailbox_base = DIR/v
virtual_mailbox_maps = inline:{box@v.test=box, dir@v.test=dir/, low@v.test=low, up@v.test=../up}
virtual_uid_maps = inline:{low@v.test=5, @v.test=20000}
virtual_gid_maps = static:20000
transport_maps = texthash:DIR/etc/transport
alias_maps = hash:DIR/etc/aliases
alias_database =
mail_spool_directory = DIR/mail
recipient_delimiter = +
biff = no
bounce_queue_lifetime = 1d
export_environment = TZ MAIL_CONFIG LANG FOO=bar
smtpd_relay_restrictions = permit_mynetworks reject
smtp_destination_concurrency_limit = 1
append_dot_mydomain = no
smtputf8_enable = no
`

const masterCF = `postlog unix-dgram n - n - 1 postlogd
127.0.0.1:2525 inet n - n - - smtpd
127.0.0.1:2526 inet n - n - - smtpd
  -o content_filter=refilter:dummy
refilter unix - n n - - pipe
  flags=Rq user=filter null_sender= argv=DIR/bin/resend -f ${sender} -- ${recipient}
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
flush unix n - n 1000? 0 flush
`

// showCommand writes all that a command can see to a file of its own.
const showCommand = `#!/bin/sh
f=$1
{
	i=0
	for a in "$@"; do i=$((i+1)); echo "arg$i=[$a]"; done
	tr '\0' '\n' < /proc/$$/environ
	echo "cwd=$(/bin/pwd) umask=$(umask) id=$(id -u):$(id -g):$(id -G) session=$([ "$(ps -o sid= -p $$ | tr -d ' ')" = $$ ] && echo own || echo other)"
	echo ---
	cat
} > "$f" 2>&1
`

const exitCommand = `#!/bin/sh
code=$1; shift
cat > /dev/null
[ $# -gt 0 ] && echo "$@"
exit $code
`

func cases() []testCase {
	list := []testCase{
		{user: "plain"},
		{user: "ext", to: "ext+more@mail.test"},
		{user: "upper", to: "UPPER@mail.test"},
		{user: "nosuch", to: "nosuch@mail.test nosuch2@mail.test", aliases: map[string]string{"nosuch": "nobodyhere"}},
	}
	list = append(list, testCase{user: "evil", to: `evil@mail.test "|id>DIR/out/evil"@mail.test "DIR/out/evilfile"@mail.test ":include:/etc/passwd"@mail.test ` +
		"\";id;\"@mail.test `id`@mail.test $USER@mail.test \"~/x\"@mail.test"})
	list = append(list, aliasCases()...)
	list = append(list, forwardCases()...)
	list = append(list, mailboxCases()...)
	list = append(list, exitCases()...)
	return append(list, pipeCases()...)
}

func aliasCases() []testCase {
	return []testCase{
		{user: "acmd", aliases: map[string]string{"acmd": `"|DIR/bin/show DIR/out/acmd a b"`}},
		{user: "ashell", aliases: map[string]string{"ashell": `"|DIR/bin/show DIR/out/ashell \"$EXTENSION\" 'x  y' $USER"`}, to: "ashell+e.x@mail.test"},
		{user: "afile", aliases: map[string]string{"afile": "DIR/out/afile"}},
		{user: "amaildir", aliases: map[string]string{"amaildir": "DIR/out/amaildir/"}},
		{user: "aself", aliases: map[string]string{"aself": `aself, "|DIR/bin/show DIR/out/aself"`}},
		{user: "alist", aliases: map[string]string{"alist": "friend, other"}},
		{user: "aowner", aliases: map[string]string{"aowner": "friend, other", "owner-aowner": "sink"}},
		{user: "ainc", aliases: map[string]string{"ainc": ":include:DIR/out/ainclist"}, change: func(w *world, _ string, uid int) {
			w.write(w.dir+"/out/ainclist", "# comment\nfriend\n\nother\n", uid, 0o644)
		}},
		{user: "aincgone", aliases: map[string]string{"aincgone": ":include:DIR/out/nothing"}},
		{user: "aincrel", aliases: map[string]string{"aincrel": ":include:nothing"}},
		{user: "aloop", aliases: map[string]string{"aloop": "aloop2", "aloop2": "aloop"}},
		{user: "aremote", aliases: map[string]string{"aremote": "someone@v.test"}},
		{user: "areq-request", aliases: map[string]string{"areq-request": `"|DIR/bin/show DIR/out/areq"`}},
		{user: "aincmd", aliases: map[string]string{"aincmd": ":include:DIR/out/aincmdl"}, change: func(w *world, _ string, uid int) {
			w.write(w.dir+"/out/aincmdl", "\"|/bin/true\"\n", uid, 0o644)
		}},
		{user: "adup", aliases: map[string]string{"adup": "friend, FRIEND, friend@mail.test, friend"}},
		{user: "dloop", header: "Delivered-To: dloop@mail.test\n"},
		{user: "ainj", from: `"a\"b;id;"@x.test`, aliases: map[string]string{"ainj": `"|DIR/bin/show DIR/out/ainj $SENDER"`}},
		{user: "anull", from: "<>", aliases: map[string]string{"anull": `"|DIR/bin/show DIR/out/anull"`}},
		{user: "abuiltin", aliases: map[string]string{"abuiltin": `"|exit 0"`}},
		{user: "apath", aliases: map[string]string{"apath": `"|true"`}},
	}
}

func forwardCases() []testCase {
	return []testCase{
		{user: "fcmd", files: map[string]string{".forward": "\"|DIR/bin/show DIR/home/fcmd/out x\"\n"}},
		{user: "fext", to: "fext+big@mail.test", files: map[string]string{".forward": "friend\n", ".forward+big": "|\"DIR/bin/show DIR/home/fext/out $EXTENSION\"\n"}},
		{user: "fextno", to: "fextno+small@mail.test", files: map[string]string{".forward": "\\fextno, friend\n", ".forward+big": "other\n"}},
		{user: "fself", files: map[string]string{".forward": "fself, \"|DIR/bin/show DIR/home/fself/out\"\n"}},
		{user: "fback", files: map[string]string{".forward": "\\fback\n"}},
		{user: "ffile", files: map[string]string{".forward": "DIR/home/ffile/box\n"}},
		{user: "fhome", files: map[string]string{".forward": "~/box, ~/dir/\n"}},
		{user: "fhomebad", files: map[string]string{".forward": "~other/box\n"}},
		{user: "finc", files: map[string]string{".forward": ":include:DIR/home/finc/list\n", "list": "friend\nother\n"}},
		{user: "fincrel", files: map[string]string{".forward": ":include:list\n", "list": "friend\n"}},
		{user: "fremote", files: map[string]string{".forward": "a@v.test, b@v.test\n"}},
		{user: "fempty", files: map[string]string{".forward": "# nothing\n\n"}},
		{user: "fworld", files: map[string]string{".forward": "friend\n"}, change: func(_ *world, home string, _ int) { os.Chmod(home+"/.forward", 0o646) }},
		{user: "fgroup", files: map[string]string{".forward": "friend\n"}, change: func(_ *world, home string, _ int) { os.Chmod(home+"/.forward", 0o664) }},
		{user: "fowner", files: map[string]string{".forward": "friend\n"}, change: func(_ *world, home string, _ int) { os.Chown(home+"/.forward", 1, 1) }},
		{user: "froot", files: map[string]string{".forward": "friend\n"}, change: func(_ *world, home string, _ int) { os.Chown(home+"/.forward", 0, 0) }},
		{user: "flink", files: map[string]string{"real": "friend\n"}, change: func(_ *world, home string, _ int) { os.Symlink("real", home+"/.forward") }},
		{user: "ffifo", change: func(w *world, home string, _ int) { w.must("mkfifo", home+"/.forward") }},
		{user: "fdir", change: func(_ *world, home string, _ int) { os.Mkdir(home+"/.forward", 0o755) }},
		{user: "fsecret", files: map[string]string{".forward": "friend\n"}, change: func(_ *world, home string, _ int) { os.Chmod(home+"/.forward", 0) }},
		{user: "fnohome", change: func(_ *world, home string, _ int) { os.RemoveAll(home) }},
		{user: "fclosed", files: map[string]string{".forward": "friend\n"}, change: func(_ *world, home string, _ int) {
			os.Chown(home, 0, 0)
			os.Chmod(home, 0o700)
		}},
		{user: "fslash", to: "fslash+x/y@mail.test"},
		{user: "fmixed", files: map[string]string{".forward": "friend, \"|DIR/bin/exit 75\"\n"}, differs: "what fails for a time is done first, and nothing twice"},
		{user: "fcase", to: "FCase@mail.test", files: map[string]string{".forward": "FCASE, friend\n"}},
		{user: "fproc", files: map[string]string{".forward": "\"|IFS=' ' && exec /bin/cat > DIR/home/fproc/out || exit 75 #fproc\"\n"}},
		{user: "fpath", options: "-o {forward_path=$home/nothing$extension,$home/alt.$user}", files: map[string]string{"alt.fpath": "\"|DIR/bin/show DIR/home/fpath/out\"\n", ".forward": "other\n"}},
		{user: "fnone", options: "-o forward_path=", files: map[string]string{".forward": "other\n"}},
		{user: "fnocmd", options: "-o allow_mail_to_commands=alias", files: map[string]string{".forward": "\"|/bin/true\"\n"}},
		{user: "fnofile", options: "-o allow_mail_to_files=alias", files: map[string]string{".forward": "DIR/home/fnofile/box\n"}},
		{user: "floop", files: map[string]string{".forward": "floop2\n"}, aliases: map[string]string{"floop2": "floop"}},
		{user: "fquote", files: map[string]string{".forward": "\"|DIR/bin/show DIR/home/fquote/out 'a b' \\\"c d\\\"\"\n"}},
		{user: "needhome", options: "-o require_home_directory=yes", change: func(_ *world, home string, _ int) { os.RemoveAll(home) }},
		{user: "fprop", to: "fprop+tag@mail.test", options: "-o propagate_unmatched_extensions=forward,alias", files: map[string]string{".forward": "friend@mail.test\n"}},
		{user: "ffrozen", options: "-o frozen_delivered_to=no", aliases: map[string]string{"ffrozen": `"|DIR/bin/show DIR/out/ffrozen"`}},
	}
}

func mailboxCases() []testCase {
	return []testCase{
		{user: "mcmd", to: "mcmd+x@mail.test", options: "-o {mailbox_command=DIR/bin/show DIR/home/mcmd/out \"$EXTENSION\" $HOME}"},
		{user: "mcmdplain", options: "-o {mailbox_command=DIR/bin/show DIR/home/mcmdplain/out -a b}"},
		{user: "mprocmail", options: "-o {mailbox_command=/usr/bin/procmail -a \"$EXTENSION\" DEFAULT=$HOME/box}"},
		{user: "mmaps", options: "-o {mailbox_command_maps=inline:{mmaps=DIR/bin/show,x=y}} -o {mailbox_command=/bin/false}", differs: "a table's command without arguments"},
		{user: "mmaps2", options: "-o {mailbox_command_maps=inline:{{mmaps2=DIR/bin/show DIR/home/mmaps2/out}}} -o {mailbox_command=/bin/false}"},
		{user: "mfwd", options: "-o {mailbox_command=DIR/bin/show DIR/home/mfwd/out}", files: map[string]string{".forward": "\\mfwd, friend\n"}},
		{user: "mshell", options: "-o {local_command_shell=/bin/sh -c} -o {mailbox_command=DIR/bin/show DIR/home/mshell/out}"},
		{user: "mdir", options: "-o {command_execution_directory=$home} -o {mailbox_command=DIR/bin/show DIR/home/mdir/out}"},
		{user: "mdirgone", options: "-o {command_execution_directory=$home/gone} -o {mailbox_command=DIR/bin/show DIR/home/mdirgone/out}"},
		{user: "mfilter", to: "mfilter+a.b=c@mail.test", options: "-o command_expansion_filter=abcdefghijklmnopqrstuvwxyz/ -o {mailbox_command=DIR/bin/show DIR/home/mfilter/out}"},
		{user: "mtime", options: "-o command_time_limit=1s -o {mailbox_command=sleep 20}"},
		{user: "mhome", options: "-o home_mailbox=Maildir/"},
		{user: "mhomebox", options: "-o home_mailbox=inbox"},
		{user: "mspool", options: "-o mail_spool_directory=DIR/home/mspool/spool/", change: func(_ *world, home string, uid int) {
			os.Mkdir(home+"/spool", 0o755)
			os.Chown(home+"/spool", uid, uid)
		}},
		{user: "msmall", options: "-o mailbox_size_limit=100 -o message_size_limit=100", differs: "Postfix' local dies of SIGXFSZ and leaves its dotlock"},
		{user: "vbox", aliases: map[string]string{"vbox": "box@v.test, box+ext@v.test"}},
		{user: "vdir", aliases: map[string]string{"vdir": "dir@v.test"}},
		{user: "vlow", aliases: map[string]string{"vlow": "low@v.test"}},
		{user: "vnone", aliases: map[string]string{"vnone": "none@v.test"}},
		{user: "mtrans", options: "-o {mailbox_transport=error:no box}"},
		{user: "mtransmaps", options: "-o {mailbox_transport_maps=inline:{{mtransmaps=error:mapped}}}"},
		{user: "mnodlvr", options: "-o {prepend_delivered_header=file} -o {mailbox_command=DIR/bin/show DIR/home/mnodlvr/out}"},
		{user: "mstatus", options: "-o {local_delivery_status_filter=regexp:DIR/etc/filter}", files: map[string]string{"/etc/filter": "/^2\\.0\\.0 delivered to mailbox$/ 2.1.0 all is well\n"}},
		{user: "mstatbad", options: "-o {local_delivery_status_filter=static:{5.1.0 no}}"},
		{user: "mbothbad", options: "-o {local_delivery_status_filter=static:{5.7.1 changed}} -o {mailbox_command=DIR/bin/exit 75}"},
	}
}

// exitCases are ends of commands.
func exitCases() (list []testCase) {
	for name, cmd := range map[string]string{
		"e0": "DIR/bin/exit 0 all fine", "e1": "DIR/bin/exit 1 some words", "e2": "DIR/bin/exit 2", "e64": "DIR/bin/exit 64", "e65": "DIR/bin/exit 65 bad data",
		"e66": "DIR/bin/exit 66", "e67": "DIR/bin/exit 67", "e68": "DIR/bin/exit 68", "e69": "DIR/bin/exit 69", "e70": "DIR/bin/exit 70",
		"e71": "DIR/bin/exit 71", "e72": "DIR/bin/exit 72", "e73": "DIR/bin/exit 73", "e74": "DIR/bin/exit 74", "e75": "DIR/bin/exit 75 later",
		"e76": "DIR/bin/exit 76", "e77": "DIR/bin/exit 77 no no", "e78": "DIR/bin/exit 78", "e79": "DIR/bin/exit 79", "e99": "DIR/bin/exit 99",
		"e255": "DIR/bin/exit 255", "edsn": "DIR/bin/exit 1 5.7.1 go away", "edsn4": "DIR/bin/exit 1 4.2.2 box full", "edsn2": "DIR/bin/exit 1 2.0.0 hm",
		"edsnbare": "DIR/bin/exit 1 5.7.1", "enofile": "/no/such/file x", "eshnofile": "/no/such/file 'x'", "enoname": "nosuchcommand x", "enoexec": "/etc/passwd",
		"ekill": "kill -9 $$", "eterm": "kill -15 $$ ;:", "elines": "printf 'a\\nb\\n\\nc\\n'; exit 1", "espaces": "printf '  a  b  '; exit 75",
		"ebinary": "printf 'a\\001\\200b'; exit 77", "elong": "head -c 9000 /dev/zero | tr '\\0' x; exit 77", "enoread": "exec 0<&-; exit 0", "eok": "echo hello"} {
		list = append(list, testCase{user: name, aliases: map[string]string{name: `"|` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(cmd) + `"`}})
	}
	return list
}

func pipeCases() []testCase {
	const show = "DIR/bin/show DIR/home/"
	return []testCase{
		{user: "cfilter", filtered: true},
		{user: "cnull", filtered: true, from: "<>"},
		{user: "cmany", filtered: true, to: "cmany@mail.test friend@mail.test"},
		{user: "p1", pipe: "user=p1 argv=" + show + "p1/out ${sender} ${recipient} $original_recipient ${user} ${extension} ${mailbox} ${domain} $nexthop", to: "p1@mail.test"},
		{user: "p2", pipe: "flags=DRhuqFBXO user=p2 argv=" + show + "p2/out -f ${sender} -- ${recipient}", to: "P2@Mail.Test"},
		{user: "p3", pipe: "flags=.> user=p3 argv=" + show + "p3/out ${recipient}"},
		{user: "p4", pipe: "flags=FRB eol=\\r\\n user=p4 argv=" + show + "p4/out"},
		{user: "p5", pipe: "flags=R null_sender= user=p5 argv=" + show + "p5/out [${sender}]", from: "<>"},
		{user: "p6", pipe: "flags=F user=p6 argv=" + show + "p6/out [${sender}]", from: "<>"},
		{user: "p7", pipe: "user=p7:mail directory=DIR/home/p7 argv=" + show + "p7/out ${client_address} ${client_helo} ${client_hostname} ${client_protocol} x${sasl_username}x x${sasl_method}"},
		{user: "p8", pipe: "user=p8 size=10 argv=" + show + "p8/out"},
		{user: "p9", pipe: "user=p9 argv=DIR/bin/exit 75 come again"},
		{user: "p10", pipe: "user=p10 argv=DIR/bin/exit 0 it is done"},
		{user: "p11", pipe: "user=p11 argv=DIR/bin/exit 67"},
		{user: "p12", pipe: "user=p12 argv=DIR/bin/exit 1 ${recipient} oops"},
		{user: "p13", pipe: "user=p13 argv=/no/such/thing ${recipient}"},
		{user: "p14", pipe: "flags=D user=p14 argv=" + show + "p14/out", header: "Delivered-To: P14@mail.test\n"},
		{user: "p15", pipe: "user=p15 directory=DIR/gone argv=" + show + "p15/out"},
		{user: "p16", pipe: "user=root argv=/bin/true", differs: "a pipe daemon of Postfix dies of it"},
		{user: "p17", pipe: "user=nouser argv=/bin/true", differs: "a pipe daemon of Postfix dies of it"},
		{user: "p18", pipe: "flags=Z user=p18 argv=/bin/true", differs: "a pipe daemon of Postfix dies of it"},
		{user: "p19", pipe: "user=p19 argv=" + show + "p19/out {a b} $$x $(client_helo)$sender"},
		{user: "p27", pipe: "user=p27 argv=/bin/true ${sender?yes}"},
		{user: "p28", pipe: "user=p28 argv=/bin/true ${unknown}"},
		{user: "p20", pipe: "flags=q user=p20 argv=" + show + "p20/out ${sender} ${recipient} ${user}", from: `"a b;id|x"@x.test`},
		{user: "p21", pipe: "user=p21 argv=" + show + "p21/out ${sender}", from: `x-oQ/tmp/x@x.test`},
		{user: "p22", pipe: "-o pipe_delivery_status_filter=static:{2.6.0 changed} user=p22 argv=/bin/true"},
		{user: "p23", pipe: "-o command_time_limit=1s user=p23 argv=/bin/sleep 20"},
		{user: "p24", pipe: "user=postfix argv=/bin/true", differs: "a pipe daemon of Postfix dies of it"},
		{user: "p25", pipe: "user=p25 bogus=1 argv=/bin/true", differs: "a pipe daemon of Postfix dies of it"},
		{user: "p26", pipe: "flags=DO user=p26 argv=" + show + "p26/out ${original_recipient}", aliases: nil},
	}
}
