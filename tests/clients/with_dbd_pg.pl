#!/usr/bin/perl
# DBD::Pg: statements that it prepares at the server, COPY, transactions with savepoints, asynchronous statements, denials,
# cancel.
use strict;
use warnings;
use utf8;
use DBI;
use DBD::Pg qw(:async);
use JSON::PP;

# Ids of this client's rows, so that clients do not meet.
my $BASE = 12000;
my $AWKWARD = "it's \\ a \"test\" – 漢字;\nselect 1 -- no";
my $SALARIES = 'select amount from hr.salaries';
my $SLEEP = 'select pg_sleep(60)';
# How long to wait for a cancel request to do its work before the next one: the first may come before the statement.
my $CANCEL_AGAIN = 0.3;
my $RECORDED = $ENV{HANSARD} eq '1';
my @statements;

# Notes one statement, as record.py does.
sub ran {
    my ($request, $text, $params, %known) = @_;
    push @statements, { request => $request, text => $text, %known };
    $statements[-1]{params} = [ map { defined $_ ? "$_" : undef } @$params ] if $params;
}
sub failed { my ($request, $text, $sqlstate, $params) = @_; ran($request, $text, $params, status => 'error', sqlstate => $sqlstate) }
sub denied { my ($request, $text) = @_; ran($request, $text, undef, decision => 'deny', status => 'denied', sqlstate => '42501') }
sub check { my ($right, $what) = @_; $right or die "the client got something else: $what\n" }

# Runs what is refused with this SQLSTATE; a denial is signed by who denied.
sub refused {
    my ($db, $sqlstate, $run) = @_;
    check(!eval { $run->(); 1 }, "it was not refused by $sqlstate");
    check($db->state eq $sqlstate, "expected $sqlstate: $@");
    check($sqlstate ne '42501' || $@ =~ /hansard:/, "the refusal says $@");
}

sub values_and_preparing {
    my ($db) = @_;
    my $insert = $db->prepare('insert into notes (id, body) values (?, ?)');
    my @bodies = ($AWKWARD, 'plain', undef);
    for my $n (0 .. 2) {
        check($insert->execute($BASE + $n, $bodies[$n]) == 1, 'insert');
        ran('execute', 'insert into notes (id, body) values ($1, $2)', [ $BASE + $n, $bodies[$n] ], rows_affected => 1);
    }
    # It was prepared under a name, which is given up with the handle.
    my $name = $insert->{pg_prepare_name};
    undef $insert;
    ran('query', "DEALLOCATE $name");
    my $body = $db->selectrow_array('select body from notes where id = ?', undef, $BASE);
    check($body eq $AWKWARD, 'values');
    ran('execute', 'select body from notes where id = $1', [$BASE], rows_returned => 1);
    # Without values, and asked not to prepare.
    $db->do('select 1; select 2');
    ran('query', 'select 1; select 2', undef, rows_returned => 2);
}

sub transactions {
    my ($db) = @_;
    $db->begin_work;
    $db->do('update notes set body = ? where id = ?', undef, 'kept', $BASE + 1);
    $db->pg_savepoint('here');
    refused($db, '23505', sub { $db->do('insert into notes (id) values (?)', undef, $BASE) });
    $db->pg_rollback_to('here');
    $db->commit;
    ran('query', 'begin');
    ran('execute', 'update notes set body = $1 where id = $2', [ 'kept', $BASE + 1 ], rows_affected => 1);
    ran('query', 'savepoint here');
    failed('execute', 'insert into notes (id) values ($1)', '23505', [$BASE]);
    ran('query', 'rollback to here');
    ran('query', 'commit');
}

sub copies {
    my ($db) = @_;
    my $in = 'copy notes (id, body) from stdin';
    $db->do($in);
    $db->pg_putcopydata(($BASE + 100 + $_) . "\tcopied $_\n") for 0 .. 49;
    $db->pg_putcopyend;
    ran('query', $in, undef, rows_affected => 50);
    my $out = 'copy (select id from notes where id between 12100 and 12199) to stdout';
    $db->do($out);
    my ($lines, $line) = (0, undef);
    $lines++ while $db->pg_getcopydata(\$line) >= 0;
    check($lines == 50, 'COPY out');
    ran('query', $out, undef, rows_returned => 50);
}

sub denials {
    my ($db) = @_;
    return unless $RECORDED;
    refused($db, '42501', sub { $db->do($SALARIES) });
    denied('query', $SALARIES);
    refused($db, '42501', sub { $db->selectall_arrayref("$SALARIES where person = ?", undef, 'Ana') });
    denied('parse', "$SALARIES where person = \$1");
    # In a transaction: nothing works until it is over.
    $db->begin_work;
    $db->do('update notes set body = ? where id = ?', undef, 'not to stay', $BASE + 1);
    refused($db, '42501', sub { $db->do($SALARIES) });
    refused($db, '25P02', sub { $db->do('select 1') });
    $db->rollback;
    ran('query', 'begin');
    ran('execute', 'update notes set body = $1 where id = $2', [ 'not to stay', $BASE + 1 ], rows_affected => 1);
    denied('query', $SALARIES);
    failed('query', 'select 1', '25P02');
    ran('query', 'rollback');
    my $body = $db->selectrow_array('select body from notes where id = ?', undef, $BASE + 1);
    check($body eq 'kept', 'what the failed transaction had changed');
    ran('execute', 'select body from notes where id = $1', [ $BASE + 1 ], rows_returned => 1);
}

sub cancels {
    my ($db) = @_;
    $db->do($SLEEP, { pg_async => PG_ASYNC });
    # Once: what is cancelled here is waited for by the call itself.
    select(undef, undef, undef, $CANCEL_AGAIN);
    check($db->pg_cancel, 'cancelled');
    ran('query', $SLEEP, undef, status => 'cancelled', sqlstate => '57014');
    check($db->selectrow_array("select 'still here'") eq 'still here', 'after cancelling');
    ran('query', "select 'still here'", undef, rows_returned => 1);
}

my $db = DBI->connect('dbi:Pg:', undef, undef, { AutoCommit => 1, RaiseError => 1, PrintError => 0, pg_enable_utf8 => 1 });
$_->($db) for \&values_and_preparing, \&transactions, \&copies, \&denials, \&cancels;
$db->disconnect;
print JSON::PP->new->utf8->encode(\@statements);
