# Target file for the side-by-side benchmark (see its README: TARGET_DIR=.../test/bench
# ./compare packetboat,postfix SCENARIO...). The programs are those of bin/, or of OURS_BIN.
B=${OURS_BIN:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../../bin" && pwd)}
# It stands in the places of the incumbents, but only while it runs: in a paired run
# Postfix finds its own files there when its turn comes.
PBC=/etc/postfix PBS=/var/spool/postfix
T_BINDS=""
pb_here() {
	local d; mountpoint -q $PBC && [ -e $PBC/.packetboat ] && return
	for d in $PBC $PBS; do mkdir -p $d "$BFS/packetboat$d"; mount --bind "$BFS/packetboat$d" $d; done
	: > $PBC/.packetboat
}
pb_gone() { [ ! -e $PBC/.packetboat ] || umount -l $PBC $PBS; }
SENDMAIL=$PBC/bin/sendmail SMTP_PORT=25 IMAP_PORT=143 IMAPS_PORT=993 POP_PORT=110 POPS_PORT=995
QDRAIN="$PBS/maildrop $PBS/incoming $PBS/active"
QALL="$QDRAIN $PBS/deferred"
LDAS="deliver"
t_setup() {
	pb_here
	mkdir -p $PBC $PBS /srv/run-packetboat
	: > $PBC/aliases
	cat > $PBC/main.cf <<-X
	compatibility_level = 3.6
	queue_directory = $PBS
	data_directory = $PBS/data
	command_directory = $PBC/bin
	daemon_directory = $B
	mydestination = localhost, bench.test
	myhostname = vm.bench.test
	inet_interfaces = loopback-only
	inet_protocols = ipv4
	alias_maps = texthash:$PBC/aliases
	alias_database = texthash:$PBC/aliases
	maillog_file = /var/log/mail.log
	biff = no
	X
	cat > $PBC/master.cf <<-X
	smtp     inet n - n - - smtpd
	pickup   unix n - n 60 1 pickup
	cleanup  unix n - n - 0 cleanup
	qmgr     unix n - n 300 1 qmgr
	bounce   unix - - n - 0 bounce
	smtp     unix - - n - - smtp
	relay    unix - - n - - smtp
	showq    unix n - n - - showq
	error    unix - - n - - error
	retry    unix - - n - - error
	discard  unix - - n - - discard
	local    unix - n n - - local
	virtual  unix - n n - - virtual
	lmtp     unix - - n - - lmtp
	X
	# postdrop must be set-gid: bin/ is built by an ordinary user.
	mkdir -p $PBC/bin; cp "$B/sendmail" "$B/postdrop" $PBC/bin/; ln -sf "$B/mailadm" $PBC/bin/postqueue
	chgrp postdrop $PBC/bin/postdrop; chmod 2555 $PBC/bin/postdrop
	: > $PBC/users
	local i; for i in $(seq -w 0 99); do echo "u0$i:{PLAIN}bench:$((21000+10#$i)):$((21000+10#$i))::/srv/home/u0$i"; done > $PBC/users
	chmod 644 $PBC/users
	"$B/mailadm" self-signed --name vm.bench.test --name localhost --cert $PBC/cert.pem --key $PBC/key.pem
	pb_gone
}
pbconf() { "$B/postconf" -c $PBC -e "$@"; }
mta_start() {
	pb_here
	local x=()
	case $1 in
	discard) x=('transport_maps=static:discard:' 'home_mailbox=');;
	mbox) x=('transport_maps=' 'home_mailbox=');;
	maildir) x=('transport_maps=' 'home_mailbox=Maildir/');;
	relay) x=('transport_maps=static:smtp:[127.0.0.1]:2525');;
	defer) x=('transport_maps=static:smtp:[127.0.0.1]:9');;
	*) die "variant $1";;
	esac
	pbconf "${x[@]}"
	cg mta "$B/mtad" -c $PBC >/dev/null || die "mtad does not start"
	wait_port $SMTP_PORT
}
mta_stop() { local p; p=$(tr -d ' ' < $PBS/pid/master.pid) && kill "$p"; local i; for i in $(seq 400); do kill -0 "$p" 2>/dev/null || { pb_gone; return 0; }; sleep 0.02; done; }
mta_wipe() { pb_here; local d; for d in maildrop incoming active deferred defer bounce; do [ -d $PBS/$d ] && find $PBS/$d -type f -delete; done; :; }
mta_list() { "$B/postqueue" -c $PBC -p; }
mta_flush_all() { pbconf 'transport_maps=static:discard:'; kill -HUP "$(tr -d ' ' < $PBS/pid/master.pid)"; sleep 0.3; "$B/postqueue" -c $PBC -f; }
mra_start() {
	pb_here
	local loc
	case $1 in
	mbox) loc='mbox:~/mail:INBOX=/var/mail/%u';;
	maildir) loc='maildir:~/Maildir';;
	esac
	cat > $PBC/dovecot.conf <<-X
	base_dir = /srv/run-packetboat
	log_path = /var/log/dovecot.log
	protocols = imap pop3
	listen = 127.0.0.1
	mail_location = $loc
	mail_privileged_group = mail
	mail_max_userip_connections = 4000
	ssl = yes
	ssl_cert = <$PBC/cert.pem
	ssl_key = <$PBC/key.pem
	disable_plaintext_auth = no
	$(if [ "${2:-passwdfile}" = system ]; then
		printf 'passdb {\n  driver = pam\n}\nuserdb {\n  driver = passwd\n}\n'
	else
		printf 'passdb {\n  driver = passwd-file\n  args = %s/users\n}\nuserdb {\n  driver = passwd-file\n  args = %s/users\n}\n' $PBC $PBC
	fi)
	X
	mkdir -p /srv/run-packetboat
	cg mra "$B/mrad" -c $PBC/dovecot.conf || die "mrad does not start"
	wait_port $IMAP_PORT
}
mra_stop() { kill "$(tr -d ' ' < /srv/run-packetboat/master.pid)"; local i; for i in $(seq 100); do [ -z "$(MBX cg procs "$TARGET-mra")" ] && { pb_gone; return; }; sleep 0.05; done; }
mra_forget() { rm -rf "$BFS/home/$1/mail/.imap" "$BFS/home/$1/mail/.packetboat"; find "$BFS/home/$1" -maxdepth 3 -name '*packetboat*' -type f -delete 2>/dev/null; :; }
lda_cmd() { LDA=("$B/deliver" -c $PBC -d "$3"); }
